"""Layouts: one corpus in every layout and in every format of sound is the same eight utterances."""

import re
import typing
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import corpora
from conftest import ROOT
from corpora import ACCENT, GENDER, LANGUAGE, SPEAKER
from sotaque import audio, manifest
from sotaque.data import ingest, layouts
from sotaque.data.layouts import columns, parquet_file, parts
from sotaque.manifest import Reject
from sotaque.sandbox import Limits
from sotaque.settings import Ingest, Layout, Settings

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
NAMES_GENDER = (
    "common-voice", "openslr", "vctk", "librispeech", "kaldi", "lhotse", "audiofolder", "jsonl", "parquet",
)  # fmt: skip
PARTS = {
    "common-voice": ["train"] * 4 + ["val", "test", "", ""],
    "audiofolder": ["train"] * 5 + ["test"] * 3,
    "parquet": ["train"] * 8,
    "librispeech": ["train"] * 6 + ["val"] * 2,
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CORPUS.mkdir(parents=True)


def run(**more) -> tuple[list, dict]:
    """(utterances by id, reject codes by id)"""
    wanted = {"corpus": "mine", "language": LANGUAGE, "speaker": SPEAKER, "max_rejected_share": 1.0, **more}
    ingest.run(Settings(shards=1, ingest=Ingest(**wanted)), corpus=CORPUS, out=OUT)
    rejects = manifest.read(OUT / "rejects.jsonl", Reject)
    return manifest.read(OUT / "00.jsonl"), {r.id: r.code for r in rejects}


@pytest.mark.parametrize("suffix", corpora.SUFFIXES)
@pytest.mark.parametrize("layout", corpora.LAYOUTS)
def test_every_layout_gives_the_same_eight_utterances(layout, suffix, sounds):
    clips = corpora.clips(sounds, suffix)
    corpora.LAYOUTS[layout](CORPUS, clips)
    assert layouts.find(CORPUS) is layouts.LAYOUTS[layout], "found by looking"
    kept, rejects = run()
    assert not rejects
    inside = f"{SPEAKER}-" if layout == "fish" else ""
    assert [u.id for u in kept] == [inside + c.id for c in clips]
    assert [u.text for u in kept] == list(corpora.TEXTS)
    assert {(u.speaker, u.language) for u in kept} == {(SPEAKER, LANGUAGE)}
    assert {u.gender for u in kept} == {GENDER if layout in NAMES_GENDER else ""}
    assert {u.accent for u in kept} == {ACCENT if layout in ("common-voice", "vctk", "audiofolder") else ""}
    assert [u.part for u in kept] == PARTS.get(layout, [""] * 8)
    assert [Path(u.audio).read_bytes() for u in kept] == [c.sound.read_bytes() for c in clips]
    assert [u.duration_s for u in kept] == [round(audio.read_header(c.sound).duration_s, 4) for c in clips]


@pytest.mark.parametrize("layout", corpora.LAYOUTS)
def test_a_layout_named_in_params_gives_what_looking_gives_and_bytes_repeat(layout, sounds):
    corpora.LAYOUTS[layout](CORPUS, corpora.clips(sounds, "flac"))
    first = run()
    before = {p: p.read_bytes() for p in OUT.rglob("*") if p.is_file()}
    assert run(layout=layout) == first
    assert {p: p.read_bytes() for p in OUT.rglob("*") if p.is_file()} == before


def test_every_layout_of_the_settings_has_a_corpus_here_and_is_looked_for():
    assert set(corpora.LAYOUTS) == set(typing.get_args(Layout)) - {"auto"}
    assert all(layout.LOOKS_FOR for layout in layouts.LAYOUTS.values())


# --- Common Voice


def test_common_voice_takes_a_clip_once_and_never_what_listeners_turned_down(sounds):
    corpora.common_voice(CORPUS, corpora.clips(sounds, "mp3"))
    assert len(list(layouts.LAYOUTS["common-voice"].rows(CORPUS))) == 8
    (CORPUS / "validated.tsv").unlink()
    assert [u.part for u in run()[0]] == ["train"] * 4 + ["val", "test"]


def test_common_voice_without_parts_is_the_validated_clips(sounds):
    corpora.common_voice(CORPUS, corpora.clips(sounds, "mp3"))
    for name in ("train", "dev", "test"):
        (CORPUS / f"{name}.tsv").unlink()
    assert [u.part for u in run()[0]] == [""] * 8


def test_quotes_in_common_voice_are_letters_even_alone(sounds):
    """Its tables quote nothing: taken for CSV, an open quote would swallow the lines behind it."""
    corpora.common_voice(CORPUS, corpora.clips(sounds, "mp3"))
    for path in CORPUS.glob("*.tsv"):
        path.write_text(
            path.read_text().replace('Dijo "sí", y', '"Dijo "sí, y').replace("El gato", '"El | gato')
        )
    kept, rejects = run()
    assert not rejects
    assert [u.text for u in kept][:2] == ['"El | gato duerme cerca de la ventana.', '"Dijo "sí, y se fue.']
    assert len(kept) == 8


def test_common_voice_of_an_early_release_names_no_suffix(sounds):
    corpora.common_voice(CORPUS, corpora.clips(sounds, "mp3"))
    for path in CORPUS.glob("*.tsv"):
        path.write_text(path.read_text().replace(".mp3", ""))
    assert len(run()[0]) == 8


# --- VCTK, LibriSpeech, MLS


def test_vctk_names_each_clip_that_lacks_its_text_or_its_recording(sounds):
    corpora.vctk(CORPUS, corpora.clips(sounds, "flac"))
    texts = sorted(CORPUS.glob("txt/*/*.txt"))
    texts[0].unlink()
    (texts[0].parent / "unspoken.txt").write_text("Nadie lo dijo.")
    kept, rejects = run()
    assert len(kept) == 7
    assert rejects == {texts[0].stem: "no-transcript", "unspoken": "missing"}


def test_vctk_of_the_first_release_lists_speakers_without_their_letter(sounds):
    [clip, *_] = corpora.clips(sounds, "wav")
    for path in (CORPUS / "wav48/p225/p225_001.wav", CORPUS / "txt/p225/p225_001.txt"):
        path.parent.mkdir(parents=True)
        path.write_bytes(clip.sound.read_bytes() if path.suffix == ".wav" else b"Hola.")
    (CORPUS / "speaker-info.txt").write_text("ID  AGE  GENDER  ACCENTS\n225  23  F  English  Surrey\n")
    [kept] = run()[0]
    assert (kept.id, kept.speaker, kept.gender, kept.accent) == ("p225_001", "p225", "f", "English")


def test_librispeech_names_a_recording_that_its_chapter_does_not_list(sounds):
    clips = corpora.clips(sounds, "flac")
    corpora.librispeech(CORPUS, clips)
    (CORPUS / f"dev-other/{SPEAKER}/7/84-7-0099.flac").write_bytes(clips[0].sound.read_bytes())
    kept, rejects = run()
    assert (len(kept), rejects) == (8, {"84-7-0099": "no-transcript"})


def test_mls_has_one_listing_for_a_part(sounds):
    clips = corpora.clips(sounds, "flac")[:2]
    for part, clip in zip(("train", "test"), clips, strict=True):
        recording = CORPUS / f"{part}/audio/1234/5678/1234_5678_00000{len(part)}.flac"
        recording.parent.mkdir(parents=True)
        recording.write_bytes(clip.sound.read_bytes())
        (CORPUS / part / "transcripts.txt").write_text(f"{recording.stem}\t{clip.text}\n")
    (CORPUS / "metainfo.txt").write_text(" SPEAKER | GENDER | PARTITION\n 1234 | M | train\n")
    found = {u.text: (u.speaker, u.gender, u.part) for u in run()[0]}
    assert found == {clips[0].text: ("1234", "m", "train"), clips[1].text: ("1234", "m", "test")}


# --- encodings


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac-roman", "cp850"])
@pytest.mark.parametrize("layout", ["ljspeech", "two-columns", "vctk", "librispeech", "kaldi", "fish"])
def test_listings_in_an_encoding_that_params_name_are_read_as_they_were_written(layout, encoding, sounds):
    corpora.LAYOUTS[layout](CORPUS, corpora.clips(sounds, "flac"))
    for path in CORPUS.rglob("*"):
        if path.is_file() and path.suffix != ".flac":
            path.write_bytes(path.read_text().encode(encoding))
    kept, rejects = run(encoding=encoding)
    assert ([u.text for u in kept], rejects) == (list(corpora.TEXTS), {})


def test_a_byte_order_mark_says_more_than_params(sounds):
    corpora.ljspeech(CORPUS, corpora.clips(sounds, "flac"))
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text(), encoding="utf-8-sig")
    assert [u.text for u in run(encoding="cp1252")[0]] == list(corpora.TEXTS)


# --- OpenSLR


def test_openslr_archives_unpacked_in_one_place_keep_speakers_and_genders_apart(sounds):
    clips = corpora.clips(sounds, "wav")
    ids = ["arf_00295_00000000001", "arm_00610_00000000002", "mine"]
    for name, clip in zip(ids, clips, strict=False):
        (CORPUS / f"{name}.wav").write_bytes(clip.sound.read_bytes())
    (CORPUS / "line_index_female.tsv").write_text(f"{ids[0]}\tHola\n{ids[2]}\tUno\n")
    (CORPUS / "line_index_male.tsv").write_text(f"{ids[1]}\tBuenas\n")
    found = {u.id: (u.text, u.speaker, u.gender) for u in run(speaker="alguien")[0]}
    assert found == {
        ids[0]: ("Hola", "arf_00295", "f"),
        ids[1]: ("Buenas", "arm_00610", "m"),
        ids[2]: ("Uno", "alguien", ""),
    }


def test_the_comma_index_of_slr83_keeps_the_commas_of_its_texts(sounds):
    """Line id, file id and text; quotes around a text are those of CSV, others belong to it."""
    clips = corpora.clips(sounds, "wav")
    ids = ["irm_02484_00388340153", "irf_09334_00015251115", "irm_02484_01141508463"]
    for name, clip in zip(ids, clips, strict=False):
        (CORPUS / f"irish_english/{name}.wav").parent.mkdir(exist_ok=True)
        (CORPUS / f"irish_english/{name}.wav").write_bytes(clip.sound.read_bytes())
    lines = (
        f"EN0001, {ids[0]}, It is thirteen degrees, and raining.",
        f'EN0002,{ids[1]},"Well, ""hi"", they said."',
        f'EN0003, {ids[2]}, They said "no", then left.',
        "EN0004, lost",
    )
    (CORPUS / "irish_english/line_index.csv").write_text("".join(f"{line}\n" for line in lines))
    assert layouts.find(CORPUS) is layouts.LAYOUTS["openslr"]
    kept, rejects = run(language="en")
    assert {u.id: (u.text, u.speaker, u.gender) for u in kept} == {
        ids[0]: ("It is thirteen degrees, and raining.", "irm_02484", "m"),
        ids[1]: ('Well, "hi", they said.', "irf_09334", "f"),
        ids[2]: ('They said "no", then left.', "irm_02484", "m"),
    }
    assert list(rejects.values()) == ["columns"]


# --- languages


@pytest.mark.parametrize("name", ["es", "es-AR", "spa", "Spanish", "es_419", " ES "])
def test_a_language_has_several_names(name):
    assert ingest.language_of(name, "line 1") == "es"


def test_utterances_of_kaldi_keep_their_own_languages(sounds):
    clips = corpora.clips(sounds, "wav")
    corpora.kaldi(CORPUS, clips)
    names = ["pt-BR", "eng", "tlh"]
    (CORPUS / "utt2lang").write_text("".join(f"{c.id} {n}\n" for c, n in zip(clips, names, strict=False)))
    kept, rejects = run()
    assert [u.language for u in kept] == ["pt", "en", *["es"] * 5]
    assert rejects == {clips[2].id: "unknown-language"}


# --- parquet


def test_parquet_clips_that_share_a_name_are_named_by_their_row(sounds):
    clips = corpora.clips(sounds, "wav")
    corpora.packed(CORPUS, [replace(clip, id="audio") for clip in clips[:6]] + clips[6:])
    found = [u.id for u in run()[0]]
    rows = [f"train-{file:05d}-of-00002-{row:07d}" for file, row in ((0, r) for r in range(1, 6))]
    assert found == [clips[6].id, clips[7].id, *rows, "train-00001-of-00002-0000001"]


def test_parquet_may_name_files_beside_it_instead_of_holding_them(sounds):
    clips = corpora.clips(sounds, "wav")
    corpora.ljspeech(CORPUS, clips)
    (CORPUS / "metadata.csv").unlink()
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    audio_column = pyarrow.array([{"bytes": None, "path": f"wavs/{c.file}"} for c in clips], kind)
    parquet.write_table(
        pyarrow.table({"audio": audio_column, "text": [c.text for c in clips]}), CORPUS / "a.parquet"
    )
    assert [(u.id, u.audio) for u in run()[0]] == [(c.id, f"data/raw/mine/wavs/{c.file}") for c in clips]
    assert not (OUT / "audio").exists()


def test_parquet_needs_the_memory_of_a_few_rows(monkeypatch):
    """Forty clips of a megabyte in one row group are read where sixteen may be taken."""
    monkeypatch.setattr(parquet_file, "LIMITS", Limits(max_s=20.0, max_mb=40))
    rows = [{"audio": {"bytes": bytes([n]) * 2**20, "path": f"{n}.wav"}, "text": "Hola"} for n in range(40)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), CORPUS / "a.parquet", compression="none")
    del rows
    found = [row.unpacked for row in layouts.read(CORPUS, "auto", OUT / "audio")]
    assert [path.read_bytes() for path in found] == [bytes([n]) * 2**20 for n in range(40)]


# --- names of parts, full paths


@pytest.mark.parametrize(
    ("name", "part"),
    [("train", "train"), ("Dev", "dev"), ("test_manifest", "test"), ("train-00000-of-00004", "train"),
     ("metadata", ""), ("my_test", ""), ("trainer", ""), ("train_test", "")],
)  # fmt: skip
def test_a_listing_names_a_part_only_where_nothing_else_is_said(name, part):
    assert parts.part_of(name) == part


@pytest.mark.parametrize("layout", ["jsonl", "kaldi", "two-columns"])
def test_full_paths_into_the_corpus_are_as_good_as_relative_ones(layout, sounds):
    corpora.LAYOUTS[layout](CORPUS, corpora.clips(sounds, "wav"))
    listing = next(
        CORPUS / name for name in ("manifest.json", "wav.scp", "list.csv") if (CORPUS / name).exists()
    )
    text = listing.read_text()
    listing.write_text(
        text.replace("audio/", f"{CORPUS.resolve()}/audio/").replace("wavs/", f"{CORPUS.resolve()}/wavs/")
    )
    kept, rejects = run()
    assert (len(kept), rejects) == (8, {})
    assert not any(Path(u.audio).is_absolute() for u in kept)


def test_kaldi_folders_of_parts_name_the_part(sounds):
    clips = corpora.clips(sounds, "wav")
    for part, some in (("train", clips[:6]), ("dev", clips[6:7]), ("test", clips[7:])):
        corpora.kaldi(CORPUS / part, some)
    assert [u.part for u in run()[0]] == ["train"] * 6 + ["val", "test"]


def test_our_own_manifests_are_a_corpus(sounds):
    corpora.audiofolder(CORPUS, corpora.clips(sounds, "wav"))
    kept, _ = run()
    again = Path("data/raw/again")
    again.mkdir()
    for utterance in kept:
        (again / Path(utterance.audio).name).write_bytes(Path(utterance.audio).read_bytes())
    manifest.write(again / "all.jsonl", [replace(u, audio=Path(u.audio).name) for u in kept])
    settings = Settings(shards=1, ingest=Ingest(corpus="again"))
    ingest.run(settings, corpus=again, out=OUT)
    assert [replace(u, audio="") for u in manifest.read(OUT / "00.jsonl")] == [
        replace(u, audio="") for u in kept
    ]


def test_the_page_on_layouts_names_them_all_in_the_order_of_looking():
    page = (ROOT / "docs/layouts.md").read_text(encoding="utf-8")
    table = page.split("**Columns and keys.**")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(layouts.LAYOUTS)
    for field, names in columns.NAMES.items():
        assert all(f"`{name}`" in page for name in names if field != "normalised"), field
