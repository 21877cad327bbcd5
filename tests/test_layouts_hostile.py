"""Corpora made to hang or break the reader: each costs one clip, or stops the run with one clear message."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from sotaque import files, manifest
from sotaque.data import ingest
from sotaque.data.layouts import sources
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
LAYOUTS = ("fish", "vctk")


@pytest.fixture(autouse=True)
def here(workplace):
    CORPUS.mkdir(parents=True)


def text_of(layout: str, name: str) -> Path:
    """Where a layout has the transcript of the clip a or b."""
    return CORPUS / (f"s/{name}.lab" if layout == "fish" else f"txt/p1/p1_{name}.txt")


@pytest.fixture(params=LAYOUTS)
def bad(request) -> Path:
    """Two recordings, of which a has its transcript; returns where that of b belongs."""
    for number, name in enumerate("ab"):
        target = f"s/{name}.wav" if request.param == "fish" else f"wav48/p1/p1_{name}.wav"
        save(CORPUS / target, voice(0.5 + number / 10))
    text_of(request.param, "a").parent.mkdir(parents=True, exist_ok=True)
    text_of(request.param, "a").write_text("Olá, mundo.")
    return text_of(request.param, "b")


def run() -> tuple[list, dict]:
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=1.0))
    ingest.run(settings, corpus=CORPUS, out=OUT)
    rejects = {r.id: r for r in manifest.read(OUT / "rejects.jsonl", Reject)}
    return manifest.read(OUT / "00.jsonl"), rejects


def huge(path: Path) -> None:
    """Three gigabytes that take no room on the disk."""
    with path.open("wb") as stream:
        stream.truncate(3 << 30)


OUTSIDE = "outside.txt"
BAD_TEXTS = {
    "fifo": (os.mkfifo, "no-transcript"),
    "folder": (Path.mkdir, "no-transcript"),
    "loop": (lambda path: path.symlink_to(path.name), "no-transcript"),
    "dangling": (lambda path: path.symlink_to("gone"), "no-transcript"),
    "gigabytes": (huge, "text-too-long"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "outside-root"),
    "outside": (lambda path: path.symlink_to(Path(OUTSIDE).resolve()), "outside-root"),
    "unreadable": (lambda path: path.write_bytes(b"\xff\xfe\0"), "encoding"),
    "latin-1": (lambda path: path.write_bytes("não".encode("latin-1")), "encoding"),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_what_is_no_text_in_its_place_costs_one_clip_and_no_time(kind, bad):
    Path(OUTSIDE).write_text("segredo")
    make, code = BAD_TEXTS[kind]
    make(bad)
    start = time.monotonic()
    kept, rejects = run()
    assert time.monotonic() - start < 10
    assert [u.text for u in kept] == ["Olá, mundo."]
    assert [r.code for r in rejects.values()] == [code]
    [reject] = rejects.values()
    assert "segredo" not in reject.reason
    assert bad.name in reject.reason


@pytest.mark.parametrize("name", [b"cora\xe7\xe3o", b"a\nb", b"\xff"])
def test_names_that_are_not_utf_8_cost_one_clip(name, bad):
    folder = os.fsencode(CORPUS / ("s" if bad.suffix == ".lab" else "wav48/p1"))
    os.rename(folder + (b"/b.wav" if bad.suffix == ".lab" else b"/p1_b.wav"), folder + b"/" + name + b".wav")
    with open(os.fsencode(bad.parent) + b"/" + name + os.fsencode(bad.suffix), "w") as stream:
        stream.write("Bom dia.")
    kept, rejects = run()
    assert [u.text for u in kept] == ["Olá, mundo."]
    assert [r.code for r in rejects.values()] == ["unsafe-name"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_recordings_that_are_none_cost_one_clip(layout, make):
    save(CORPUS / ("s/a.wav" if layout == "fish" else "wav48/p1/p1_a.wav"), voice())
    for name in "ab":
        text_of(layout, name).parent.mkdir(parents=True, exist_ok=True)
        text_of(layout, name).write_text("Olá.")
    make(CORPUS / ("s/b.wav" if layout == "fish" else "wav48/p1/p1_b.wav"))
    kept, rejects = run()
    assert len(kept) == 1
    assert {r.code for r in rejects.values()} == {"missing"}


# --- listings

LISTINGS = {
    "metadata.csv": "a|Olá, mundo.\n",
    "list.csv": "audio|text\nwavs/a.wav|Olá, mundo.\n",
    "all.jsonl": '{"audio": "wavs/a.wav", "text": "Olá, mundo."}\n',
    "validated.tsv": "client_id\tpath\tsentence\nx\ta.wav\tOlá, mundo.\n",
    "line_index.tsv": "a\tOlá, mundo.\n",
    "text": "a Olá, mundo.\n",
    "x.trans.txt": "a Olá, mundo.\n",
}


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_links_out_of_the_corpus_is_not_read(name):
    save(CORPUS / "wavs/a.wav", voice())
    (CORPUS / "wav.scp").write_text("a wavs/a.wav\n")
    Path(OUTSIDE).write_text(LISTINGS[name])
    (CORPUS / name).symlink_to(Path(OUTSIDE).resolve())
    with pytest.raises(
        InputError, match=f"{name}: links out of the corpus folder; put the file itself there"
    ):
        run()


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name), lambda path: None]
)
@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_is_no_file_is_no_listing(name, make):
    save(CORPUS / "wavs/a.wav", voice())
    make(CORPUS / name)
    with pytest.raises(InputError, match=r"no transcripts|not a corpus of a known layout"):
        run()


def test_a_listing_of_gigabytes_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(sources, "MAX_LISTING_BYTES", 1000)
    save(CORPUS / "wavs/a.wav", voice())
    (CORPUS / "metadata.csv").write_text("a|Olá, mundo.\n" * 100)
    with pytest.raises(InputError, match=r"metadata\.csv: a listing of over 1000 bytes; cut it into several"):
        run()


def test_a_line_of_megabytes_costs_itself():
    save(CORPUS / "wavs/a.wav", voice())
    (CORPUS / "metadata.csv").write_text("a|Olá, mundo.\nb|" + "x" * (files.MAX_LINE_CHARACTERS + 1))
    kept, rejects = run()
    assert [u.text for u in kept] == ["Olá, mundo."]
    assert [r.code for r in rejects.values()] == ["line-too-long"]


@pytest.mark.parametrize(
    "path", ["x" * 5000 + ".wav", "a\0b.wav", "/" * 5000, "../" * 2000 + "a.wav", "wavs", "."]
)
@pytest.mark.parametrize("layout", ["kaldi", "jsonl", "two-columns"])
def test_paths_that_no_file_can_have_cost_one_clip(layout, path):
    save(CORPUS / "wavs/a.wav", voice())
    if layout == "kaldi":
        (CORPUS / "wav.scp").write_text(f"a wavs/a.wav\nb {path}\n")
        (CORPUS / "text").write_text("a Olá, mundo.\nb Oi, gente.\n")
    elif layout == "jsonl":
        rows = [{"audio": name, "text": "Olá, mundo."} for name in ("wavs/a.wav", path)]
        (CORPUS / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (CORPUS / "list.csv").write_text(f"audio|text\nwavs/a.wav|Olá, mundo.\n{path}|Oi, gente.\n")
    kept, rejects = run()
    assert [u.text for u in kept] == ["Olá, mundo."]
    assert len(rejects) == 1
    assert {r.code for r in rejects.values()} <= {"missing", "unsafe-name", "outside-root"}


def test_ids_of_half_a_surrogate_pair_cost_their_clips():
    for number, name in enumerate("abc"):
        save(CORPUS / f"{name}.wav", voice(0.5 + number / 10))
    names = {"a": "\\ud800", "b": "\\udcff", "c": "c"}
    rows = [f'{{"audio": "{n}.wav", "text": "Olá {n}.", "id": "{i}"}}' for n, i in names.items()]
    (CORPUS / "m.jsonl").write_text("\n".join(rows))
    kept, rejects = run()
    assert [u.id for u in kept] == ["c"]
    assert [r.code for r in rejects.values()] == ["encoding", "encoding"]


def test_a_loop_of_folders_is_not_walked():
    save(CORPUS / "s/a.wav", voice())
    (CORPUS / "s/a.lab").write_text("Olá.")
    (CORPUS / "s/up").symlink_to("..")
    (CORPUS / "self").symlink_to("self")
    kept, rejects = run()
    assert len(kept) == 1
    assert {i: r.code for i, r in rejects.items()} == {"s-up": "outside-root"}


def test_a_transcript_is_read_to_its_limit_and_no_further(monkeypatch):
    (CORPUS / "a.lab").write_text("x" * sources.MAX_TRANSCRIPT_BYTES)
    assert len(sources.read_transcript(CORPUS, "a.lab")) == sources.MAX_TRANSCRIPT_BYTES
    (CORPUS / "b.lab").write_text("x" * (sources.MAX_TRANSCRIPT_BYTES + 1))
    with pytest.raises(ClipError, match="text-too-long"):
        sources.read_transcript(CORPUS, "b.lab")


def test_a_folder_that_cannot_be_entered_is_passed_over():
    if os.geteuid() == 0:
        pytest.skip("root may enter every folder")
    save(CORPUS / "s/a.wav", voice())
    (CORPUS / "s/a.lab").write_text("Olá.")
    locked = CORPUS / "t"
    shutil.copytree(CORPUS / "s", locked)
    locked.chmod(0)
    try:
        assert len(run()[0]) == 1
    finally:
        locked.chmod(0o755)
