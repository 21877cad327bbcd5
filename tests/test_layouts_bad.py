"""Layouts given bad listings: a bad line costs its own clip, by its code; a bad listing is named."""

import datetime
import json
import os
import random
import shutil
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import corpora
from corpora import LANGUAGE, SPEAKER
from sotaque import manifest
from sotaque.data import ingest, layouts
from sotaque.data.layouts import parquet_file
from sotaque.errors import InputError
from sotaque.manifest import Reject
from sotaque.sandbox import Limits
from sotaque.settings import Ingest, Settings

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return corpora.clips(tmp_path_factory.mktemp("sounds"), "wav")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CORPUS.mkdir(parents=True)


def run(**more):
    """(kept by id, rejects by id)"""
    wanted = {"corpus": "mine", "language": LANGUAGE, "speaker": SPEAKER, "max_rejected_share": 1.0, **more}
    ingest.run(Settings(shards=1, ingest=Ingest(**wanted)), corpus=CORPUS, out=OUT)
    kept = {u.id: u for u in manifest.read(OUT / "00.jsonl")}
    return kept, {r.id: r for r in manifest.read(OUT / "rejects.jsonl", Reject)}


def add(listing: str, line: str) -> None:
    with (CORPUS / listing).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


LISTING = {
    "ljspeech": "metadata.csv",
    "two-columns": "list.csv",
    "chatterbox": "metadata.csv",
    "common-voice": "validated.tsv",
    "openslr": "es_ar_female/line_index.tsv",
    "audiofolder": "train/metadata.csv",
    "jsonl": "manifest.json",
}
LINES = {  # {audio} is a path as the layout writes it, without suffix where it wants none
    "ljspeech": "{audio}|{text}|{text}",
    "two-columns": "{audio}.wav;{text}",
    "chatterbox": "{audio}.wav,{text},s,1.0",
    "common-voice": "c\t{audio}.wav\t7\t{text}\t2\tf\t\tes",
    "openslr": "{audio}\t{text}",
    "audiofolder": "{audio}.wav,,{text},s,es,,f",
    "jsonl": '{{"audio_filepath": "{audio}.wav", "text": "{text}"}}',
}


@pytest.mark.parametrize(
    ("audio", "text", "code"),
    [
        ("nowhere", "Hola", "missing"),
        ("../../../../secret", "Hola", "outside-root"),
        ("extra", "", "no-transcript"),
        ("extra", " ¡¿! ", "no-transcript"),
        ("extra", "a\u0085b\u0007", "control-characters"),
        ("", "Hola", "missing"),
    ],
)
@pytest.mark.parametrize("layout", LISTING)
def test_a_bad_line_is_rejected_and_the_eight_are_kept(layout, audio, text, code, clips):
    if layout == "jsonl":
        text = text.encode("unicode_escape").decode().replace("\\x", "\\u00")
    corpora.LAYOUTS[layout](CORPUS, clips)
    for folder in ("wavs", "clips", "train", "es_ar_female", "."):
        (CORPUS / folder).mkdir(exist_ok=True)
        shutil.copyfile(clips[0].sound, CORPUS / folder / "extra.wav")
    shutil.copyfile(clips[0].sound, "secret.wav")
    add(LISTING[layout], LINES[layout].format(audio=audio, text=text))
    kept, rejects = run(layout=layout)
    assert len(kept) == 8
    assert [r.code for r in rejects.values()] == [code]
    assert all(r.reason for r in rejects.values())


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")])
@pytest.mark.parametrize("layout", [*LISTING, "fish", "kaldi"])
def test_a_byte_order_mark_and_crlf_change_nothing(layout, change, clips):
    corpora.LAYOUTS[layout](CORPUS, clips)
    for path in CORPUS.rglob("*"):
        if path.is_file() and path.suffix != ".wav":
            path.write_bytes(change(path.read_bytes()))
    kept, rejects = run()
    assert ([u.text for u in kept.values()], rejects) == (list(corpora.TEXTS), {})


@pytest.mark.parametrize("layout", LISTING)
def test_a_latin_1_line_is_rejected_with_the_remedy(layout, clips):
    corpora.LAYOUTS[layout](CORPUS, clips)
    with (CORPUS / LISTING[layout]).open("ab") as stream:
        stream.write((LINES[layout].format(audio="x", text="Sí") + "\n").encode("latin-1"))
    kept, rejects = run(layout=layout)
    assert (len(kept), [r.code for r in rejects.values()]) == (8, ["encoding"])
    assert "iconv" in next(iter(rejects.values())).reason


@pytest.mark.parametrize(
    ("layout", "listing", "line", "code"),
    [
        ("common-voice", "validated.tsv", "c\textra.wav\t7", "columns"),
        ("openslr", "es_ar_female/line_index.tsv", f"{SPEAKER}_00000000099", "columns"),
        ("openslr", "es_ar_female/line_index.tsv", "extra\tHola\tmás", "columns"),
        ("audiofolder", "train/metadata.csv", "extra.wav,,Hola", "columns"),
        ("audiofolder", "train/metadata.csv", 'extra.wav,,"Hola,s,es,,f', "quotes"),
        ("jsonl", "manifest.json", '{"audio_filepath": "extra.wav"}', "columns"),
        ("jsonl", "manifest.json", '{"audio_filepath": "extra.wav", "text": ["Hola"]}', "columns"),
        ("jsonl", "manifest.json", '{"audio_filepath": {"a": 1}, "text": "Hola"}', "columns"),
        ("jsonl", "manifest.json", '{"audio_filepath": "extra.wav", "text": "Hola"', "json"),
        ("jsonl", "manifest.json", "[" * 100_000, "json"),
        ("jsonl", "manifest.json", '["extra.wav", "Hola"]', "json"),
        (
            "jsonl",
            "manifest.json",
            '{"audio": "extra.wav", "text": "Hola", "speaker": "\\ud800"}',
            "encoding",
        ),
        ("jsonl", "manifest.json", '{"audio": "extra.wav", "text": "Hola", "offset": "soon"}', "segment"),
        ("jsonl", "manifest.json", '{"audio": "extra.wav", "text": "Hola", "offset": NaN}', "segment"),
        (
            "jsonl",
            "manifest.json",
            '{"audio": "extra.wav", "text": "Hola", "offset": 1' + "0" * 400 + "}",
            "segment",
        ),
        ("kaldi", "wav.scp", "extra", "columns"),
        ("kaldi", "wav.scp", "extra audio/extra.wav", "no-transcript"),
        ("kaldi", "text", f"{SPEAKER}_00000000099 Hola", "missing"),
        ("kaldi", "text", f"{SPEAKER}_00000000001 Otra vez", "duplicate-id"),
        ("kaldi", "utt2spk", f"{SPEAKER}_00000000001 otra", "duplicate-id"),
    ],
)
def test_what_only_this_layout_can_get_wrong(layout, listing, line, code, clips):
    corpora.LAYOUTS[layout](CORPUS, clips)
    add(listing, line)
    kept, rejects = run(layout=layout)
    assert [u.text for u in kept.values()] == list(corpora.TEXTS)
    assert [r.code for r in rejects.values()] == [code]
    assert listing in next(iter(rejects.values())).reason


@pytest.mark.parametrize("command", ["touch {made}; sph2pipe -f wav x.sph |", "| touch {made}"])
def test_a_command_in_kaldis_wav_scp_is_refused_by_name_and_never_run(command, clips):
    corpora.kaldi(CORPUS, clips)
    made = Path("made").resolve()
    add("wav.scp", "extra " + command.format(made=made))
    add("text", "extra Hola")
    kept, rejects = run()
    assert (len(kept), {i: r.code for i, r in rejects.items()}) == (8, {"extra": "command"})
    assert "wav.scp, line 9" in rejects["extra"].reason
    assert not made.exists()


def test_an_empty_text_in_kaldi_is_no_transcript(clips):
    corpora.kaldi(CORPUS, clips)
    add("wav.scp", "extra audio/extra.wav")
    add("text", "extra")
    assert {i: r.code for i, r in run()[1].items()} == {"extra": "no-transcript"}


@pytest.mark.parametrize("name", ["train.tsv", "validated.tsv"])
def test_a_common_voice_listing_without_a_column_stops_the_run_by_name(name, clips):
    corpora.common_voice(CORPUS, clips)
    (CORPUS / name).write_text("client_id\tpath\nc\tx.mp3\n")
    with pytest.raises(InputError, match=rf"{name}: its first line lacks sentence"):
        run()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,speaker\nx.wav,ana\n"),
        ("manifest.jsonl", '{"audio_filepath": "x.wav"}\n'),
        ("validated.tsv", "client_id\tpath\nc\tx.mp3\n"),
        ("wav.scp", "a a.wav\n"),
    ],
)
def test_a_listing_that_lacks_a_column_is_no_layout_and_told_so(name, content):
    (CORPUS / name).write_text(content)
    with pytest.raises(InputError, match=rf"(?s)not a corpus of a known layout.*Found: {name}") as caught:
        run()
    assert all(word in str(caught.value) for word in ("file_name and text", "audio_filepath", "sentence"))


# --- parquet


def table(**changes):
    rows = [{"audio": {"bytes": b"RIFF", "path": "a.wav"}, "text": "Hola"} | changes]
    return pyarrow.Table.from_pylist(rows)


def test_bad_rows_of_parquet_are_rejected_by_their_code(clips):
    corpora.packed(CORPUS, clips)
    good = clips[0].sound.read_bytes()
    rows = [
        {"audio": {"bytes": b"", "path": "empty.wav"}, "text": "Hola"},
        {"audio": {"bytes": b"<html>", "path": "html.wav"}, "text": "Hola"},
        {"audio": {"bytes": good, "path": "quiet.wav"}, "text": ""},
        {"audio": {"bytes": good, "path": "wordless.wav"}, "text": None},
        {"audio": {"bytes": None, "path": "../../../../secret.wav"}, "text": "Hola"},
        {"audio": {"bytes": None, "path": None}, "text": "Hola"},
        {"audio": None, "text": "Hola"},
        {"audio": {"bytes": good, "path": "../../../../escape.wav"}, "text": "Copia"},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), CORPUS / "zbad.parquet")
    shutil.copyfile(clips[1].sound, "secret.wav")
    kept, rejects = run()
    assert len(kept) == 8
    assert {i: r.code for i, r in rejects.items()} == {
        "empty": "empty",
        "html": "unreadable",
        "quiet": "no-transcript",
        "wordless": "no-transcript",
        "secret": "outside-root",
        "zbad-0000006": "missing",
        "zbad-0000007": "missing",
        "escape": "duplicate-audio",
    }
    assert not list(Path().glob("escape*")), "nothing is written outside"


def test_a_damaged_parquet_file_stops_the_run_by_name(clips):
    corpora.packed(CORPUS, clips)
    path = CORPUS / "data/train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: cannot be read as Parquet"):
        run()


def test_rotten_pages_of_parquet_are_an_error_and_no_traceback(clips):
    corpora.packed(CORPUS, clips)
    path = CORPUS / "data/train-00000-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train-00000-of-00002\.parquet: cannot be read as Parquet"):
        run()


def test_a_parquet_file_with_the_footer_of_another_is_an_error(clips):
    corpora.packed(CORPUS, clips)
    first, second = sorted((CORPUS / "data").iterdir())
    content, other = first.read_bytes(), second.read_bytes()
    second.write_bytes(other[: -footer_bytes(other)] + content[-footer_bytes(content) :])
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: cannot be read as Parquet"):
        run()


def footer_bytes(content: bytes) -> int:
    """Four bytes before the magic word at the end say how long the footer is."""
    return int.from_bytes(content[-8:-4], "little") + 8


@pytest.mark.parametrize("seed", range(12))
def test_a_parquet_file_that_rots_anywhere_is_read_whole_or_named(seed, clips):
    """Half of the faults are in the footer; what is read in spite of one has all its rows."""
    corpora.packed(CORPUS, clips)
    path = CORPUS / "data/train-00000-of-00002.parquet"
    content = bytearray(path.read_bytes())
    draw = random.Random(seed)
    low = len(content) - footer_bytes(content) if seed % 2 else 0
    for at in (draw.randrange(low, len(content)) for _ in range(3)):
        content[at] ^= draw.randrange(1, 256)
    path.write_bytes(content)
    named = ""
    try:
        found = len(list(layouts.LAYOUTS["parquet"].unpack(CORPUS, OUT / "audio")))
    except InputError as error:
        found, named = 0, str(error)
    assert str(path) in named or found in (3, 8), "both files, or one where the other's columns are lost"


def test_a_parquet_bomb_is_named_within_its_memory(monkeypatch):
    """Clips of 64 MB of zeros in a few kilobytes each, of which one may be held at once."""
    monkeypatch.setattr(parquet_file, "LIMITS", Limits(max_s=20.0, max_mb=64))
    one = table(audio={"bytes": bytes(2**26), "path": "a.wav"})
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    with parquet.ParquetWriter(CORPUS / "bomb.parquet", one.schema, **options) as out:
        for _ in range(8):
            out.write_table(one)
    assert (CORPUS / "bomb.parquet").stat().st_size < 2**17
    with pytest.raises(InputError, match=r"bomb\.parquet: cannot be read .*asks for more than 64 MB"):
        run()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda *_, **__: os.abort(), "killed by SIGABRT"),
        (
            lambda *_, **__: [None for _ in iter(int, 1)],
            "within (0.3|3) s",
        ),  # of computing, or ten times so of waiting
    ],
)
def test_a_parquet_file_that_crashes_or_hangs_its_reader_is_named(fault, said, clips, monkeypatch):
    corpora.packed(CORPUS, clips)
    monkeypatch.setattr(parquet_file, "LIMITS", Limits(max_s=0.3, max_mb=800))
    monkeypatch.setattr(parquet, "ParquetFile", fault)
    with pytest.raises(InputError, match=rf"train-00000-of-00002\.parquet: cannot be read .*{said}"):
        run()


def test_columns_of_parquet_that_are_no_words_are_rejected_or_written_out(clips):
    good = [clip.sound.read_bytes() for clip in clips[:4]]
    texts = [b"Hola", ["Hola"], datetime.date(2024, 2, 1), {"es": "Hola"}]
    for number, (sound, text) in enumerate(zip(good, texts, strict=True)):
        one = table(audio={"bytes": sound, "path": f"{number}.wav"}, text=text)
        parquet.write_table(one, CORPUS / f"{number}.parquet")
    kept, rejects = run()
    assert {i: u.text for i, u in kept.items()} == {"0": "Hola", "2": "2024-02-01"}
    assert {i: r.code for i, r in rejects.items()} == {"1": "columns", "3": "columns"}


def test_a_parquet_file_that_links_out_of_the_corpus_is_refused(clips):
    corpora.packed(CORPUS, clips)
    path = CORPUS / "data/train-00000-of-00002.parquet"
    path.rename("outside.parquet")
    path.symlink_to(Path("outside.parquet").resolve())
    with pytest.raises(InputError, match="links out of the corpus folder"):
        run()


def test_parquet_without_sound_or_without_text_is_no_corpus():
    parquet.write_table(pyarrow.table({"audio": ["a.wav"], "text": ["Hola"]}), CORPUS / "a.parquet")
    parquet.write_table(pyarrow.table({"audio": [b"RIFF"], "label": [1]}), CORPUS / "b.parquet")
    with pytest.raises(InputError, match=r"parquet: .*a column of audio bytes"):
        run()


def test_numbers_in_json_are_written_out(clips):
    corpora.jsonl(CORPUS, clips)
    shutil.copyfile(clips[0].sound, CORPUS / "x.wav")
    add(
        "manifest.json",
        json.dumps({"audio": "x.wav", "text": "Hola", "id": 17, "speaker": 4, "gender": None}),
    )
    (CORPUS / f"audio/{clips[0].file}").unlink()
    found = run()[0]["17"]
    assert (found.speaker, found.gender) == ("4", "")
