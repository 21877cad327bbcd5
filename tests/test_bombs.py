"""Small files that ask for gigabytes: each is one rejected clip, or one message that names the file."""

import errno
import json
import resource
import shutil
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import corpora
from corpora import LANGUAGE, SPEAKER
from sotaque import files, manifest
from sotaque.data import ingest
from sotaque.data.layouts import jsonl, parquet_file
from sotaque.errors import InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return corpora.clips(tmp_path_factory.mktemp("sounds"), "wav")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CORPUS.mkdir(parents=True)


def run():
    """(kept, codes of the rejects)"""
    wanted = Ingest(corpus="mine", language=LANGUAGE, speaker=SPEAKER, max_rejected_share=1.0)
    ingest.run(Settings(shards=1, ingest=wanted), corpus=CORPUS, out=OUT)
    rejects = manifest.read(OUT / "rejects.jsonl", Reject)
    return manifest.read(OUT / "00.jsonl"), [reject.code for reject in rejects]


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_repeated_clip(sound: bytes, text: str, rows: int) -> Path:
    """One clip under many ids: the dictionary of Parquet holds it once, so the file is small."""
    path = CORPUS / "bomb.parquet"
    words = pyarrow.array([0] * rows, pyarrow.int32())
    columns = {
        "id": [f"clip {n}" for n in range(rows)],
        "audio": pyarrow.DictionaryArray.from_arrays(words, pyarrow.array([sound])),
        "text": pyarrow.DictionaryArray.from_arrays(words, pyarrow.array([text])),
    }
    parquet.write_table(pyarrow.table(columns), path, compression="zstd", store_schema=False)
    return path


@pytest.mark.parametrize(
    ("sound", "text", "rows"),
    [(bytes(2 * MEGABYTE), "Hola", 900), (b"RIFF", "Hola" * 2**18, 900)],
    ids=["audio", "text"],
)
def test_a_parquet_file_that_unpacks_to_gigabytes_is_stopped_by_name(sound, text, rows):
    path = write_repeated_clip(sound, text, rows)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"bomb\.parquet: .*its first \d+ rows unpack to over 20 times"):
        run()
    assert sum(p.stat().st_size for p in files.walk(OUT)) <= parquet_file.ALWAYS_ALLOWED_BYTES


def test_the_same_clip_a_few_times_is_no_bomb(clips):
    write_repeated_clip(clips[0].sound.read_bytes(), "Hola", 5)
    kept, codes = run()
    assert (len(kept), codes) == (1, ["duplicate-audio"] * 4)


def test_parquet_files_larger_than_the_room_on_the_disk_are_not_begun(clips, monkeypatch):
    corpora.packed(CORPUS, clips)
    nearly_full = shutil.disk_usage(CORPUS)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: nearly_full)
    with pytest.raises(OSError, match=r"No space left on device: \d+ bytes to unpack, 1000 free") as caught:
        run()
    assert caught.value.errno == errno.ENOSPC
    assert not (OUT / "audio").exists()


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("kind", ["line", "no-end", "nested", "string"])
def test_a_line_of_json_that_is_far_too_long_is_one_reject(clips, place, kind):
    """256 MiB in one line, sparse on the disk: the other lines are kept, and memory stays flat."""
    corpora.jsonl(CORPUS, clips)
    path = CORPUS / "manifest.json"
    good = path.read_bytes()
    begins = {
        "line": b"x\n",
        "no-end": b"",
        "nested": b"[" * MEGABYTE,
        "string": b'{"text": "' + b"a" * 9,
    }
    with open(path, "wb") as stream:
        stream.write(good if place == "last" else b"")
        stream.write(begins[kind])
        stream.truncate(stream.tell() + 256 * MEGABYTE)
        stream.seek(0, 2)
        stream.write(b"\n" + good if place == "first" else b"")
    before = peak_bytes()
    kept, codes = run()
    assert [u.text for u in kept] == list(corpora.TEXTS)
    assert sorted(codes) == ["json", "line-too-long"][kind != "line" :]
    assert peak_bytes() - before < 100 * MEGABYTE


def test_a_json_list_that_is_too_large_is_stopped_by_name(clips, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LIST_BYTES", 1000)
    entries = [{"audio": f"{n}.wav", "text": "Hola"} for n in range(100)]
    (CORPUS / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"manifest\.json: one JSON list of \d+ bytes, .* jq -c '\.\[\]'"):
        run()
