"""Depth: the folders of archives are entered, those of parts and speakers are told by their names."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

import corpora
from sotaque import manifest
from sotaque.data import ingest, layouts
from sotaque.errors import InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return corpora.clips(tmp_path_factory.mktemp("sounds"), "wav")


@pytest.fixture(autouse=True)
def here(workplace):
    CORPUS.mkdir(parents=True)


def run(**more) -> tuple[dict, dict]:
    wanted = {
        "corpus": "mine",
        "language": "es",
        "speaker": corpora.SPEAKER,
        "max_rejected_share": 1.0,
        **more,
    }
    ingest.run(Settings(shards=1, ingest=Ingest(**wanted)), corpus=CORPUS, out=OUT)
    rejects = {r.id: r for r in manifest.read(OUT / "rejects.jsonl", Reject)}
    return {u.id: u for u in manifest.read(OUT / "00.jsonl")}, rejects


def plain() -> list[tuple]:
    return [
        (
            u.id,
            u.text,
            u.speaker,
            u.language,
            u.gender,
            u.part,
            u.start_s,
            u.end_s,
            u.duration_s,
            u.source_sha256,
        )
        for u in run()[0].values()
    ]


def speak(*names: str, text: str = "Frase {}.") -> None:
    """A recording and its .lab for each name, no two alike."""
    for number, name in enumerate(names):
        save(CORPUS / f"{name}.wav", voice(0.5 + number / 10))
        (CORPUS / f"{name}.lab").write_text(text.format(number))


# --- the folder of an archive


@pytest.mark.parametrize("outer", ["Corpus-1.1", "a/b", "cv-corpus-17.0/pt"])
@pytest.mark.parametrize("layout", corpora.LAYOUTS)
def test_a_corpus_in_the_folders_of_its_archive_gives_the_same_utterances(layout, outer, clips):
    if layout == "fish":
        pytest.skip("one speaker alone cannot be told from the folder of an archive: see below")
    corpora.LAYOUTS[layout](CORPUS, clips)
    expected = plain()
    shutil.move(CORPUS, "moved")
    (CORPUS / outer).parent.mkdir(parents=True)
    shutil.move("moved", CORPUS / outer)
    for junk in ("README", "LICENSE.txt", "about.pdf", ".DS_Store", "Thumbs.db"):
        (CORPUS / junk).write_text("not a listing | of audio.wav")
    (CORPUS / "__MACOSX").mkdir()
    assert plain() == expected


def test_what_macos_and_windows_leave_in_every_folder_is_passed_over(clips):
    for layout in corpora.LAYOUTS:
        shutil.rmtree(CORPUS)
        CORPUS.mkdir()
        corpora.LAYOUTS[layout](CORPUS, clips)
        expected = plain()
        for path in [p for p in CORPUS.rglob("*") if p.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ")
            (path.parent / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        shutil.copytree(CORPUS, CORPUS / "__MACOSX")
        kept, rejects = run()
        assert not rejects, layout
        assert len(kept) == 8
        assert plain() == expected, layout


@pytest.mark.parametrize("layout", ["ljspeech", "common-voice", "kaldi"])
def test_the_archive_itself_and_other_folders_may_lie_beside_the_corpus(layout, clips):
    corpora.LAYOUTS[layout](CORPUS / "LJ-1.1", clips)
    (CORPUS / "LJ-1.1.tar.bz2").write_bytes(b"BZh9")
    (CORPUS / "LJ-1.1.md5").write_text("0  LJ-1.1.tar.bz2")
    expected = plain()
    assert {row[2] for row in expected} == {corpora.SPEAKER}
    (CORPUS / "docs").mkdir()
    (CORPUS / "docs/paper.txt").write_text("Gravado em casa.")
    assert plain() == expected


def test_parts_of_one_corpus_side_by_side_are_no_speakers(clips):
    corpora.ljspeech(CORPUS / "part1", clips[:4])
    corpora.ljspeech(CORPUS / "part2", clips[4:])
    assert {u.speaker for u in run(speaker="ana")[0].values()} == {"ana"}


# --- speakers


@pytest.mark.parametrize(
    ("names", "speakers"),
    [
        (["ana/1", "rui/2"], {"ana-1": "ana", "rui-2": "rui"}),
        (["meu_corpus/ana/1", "meu_corpus/rui/2"], {"ana-1": "ana", "rui-2": "rui"}),
        (["x/y/ana/1", "x/y/rui/2"], {"ana-1": "ana", "rui-2": "rui"}),
        (["x/p225/1", "x/p226/2"], {"p225-1": "p225", "p226-2": "p226"}),
        (["my_corpus/ana/1"], {"ana-1": "ana"}),
        (
            ["Maria/sessão 1/1", "Maria/sessão 2/2"],
            {"Maria-sessao_1-1": "Maria", "Maria-sessao_2-2": "Maria"},
        ),
        (
            ["Maria/2024-05-01/1", "Maria/2024-05-02/2"],
            {"Maria-2024-05-01-1": "Maria", "Maria-2024-05-02-2": "Maria"},
        ),
        (
            ["ana/dia1/1", "ana/dia2/2", "rui/dia1/3"],
            {"ana-dia1-1": "ana", "ana-dia2-2": "ana", "rui-dia1-3": "rui"},
        ),
        (["Maria/1", "Maria/2"], {"Maria-1": "Maria", "Maria-2": "Maria"}),
        (["ana/wavs/1", "rui/wavs/2"], {"ana-wavs-1": "ana", "rui-wavs-2": "rui"}),
        (["audio/ana/1", "audio/rui/2"], {"ana-1": "ana", "rui-2": "rui"}),
    ],
)
def test_speakers_are_told_by_folders_that_are_no_archive_and_no_session(names, speakers):
    speak(*names)
    kept, rejects = run(language="pt")
    assert not rejects
    assert {i: u.speaker for i, u in kept.items()} == speakers


def test_folders_of_parts_lie_around_those_of_the_speakers():
    speak("train/ana/1", "train/rui/2", "dev/ana/3", "test/eva/4")
    kept, _ = run(language="pt")
    assert {i: (u.part, u.speaker) for i, u in kept.items()} == {
        "train-ana-1": ("train", "ana"), "train-rui-2": ("train", "rui"), "dev-ana-3": ("val", "ana"),
        "test-eva-4": ("test", "eva"),
    }  # fmt: skip


def test_someone_may_be_called_test():
    speak("test/1", "test/2")
    assert {(u.part, u.speaker) for u in run(language="pt")[0].values()} == {("", "test")}


def test_ljspeech_in_a_folder_for_each_speaker():
    for number, speaker in enumerate(("ana", "rui")):
        save(CORPUS / f"{speaker}/wavs/c1.wav", voice(0.5 + number / 10))
        (CORPUS / f"{speaker}/metadata.csv").write_text(f"c1|Olá, sou {speaker}.\nc2|Oi\n")
    kept, rejects = run(language="pt")
    assert {i: (u.speaker, u.text, u.audio) for i, u in kept.items()} == {
        f"{s}-c1": (s, f"Olá, sou {s}.", f"data/raw/mine/{s}/wavs/c1.wav") for s in ("ana", "rui")
    }
    assert {i: (r.code, r.audio) for i, r in rejects.items()} == {
        f"{s}-c2": ("missing", f"{s}/wavs/c2.wav") for s in ("ana", "rui")
    }


def test_a_faulty_line_of_one_of_several_corpora_names_its_folder():
    for speaker in ("ana", "rui"):
        save(
            CORPUS / f"{speaker}/wavs/c1.wav", voice(0.5 + len(speaker) / 10, pitch_hz=100 + ord(speaker[0]))
        )
        (CORPUS / f"{speaker}/metadata.csv").write_text(
            "c1|Olá.\nc2|Oi|você|aí\n" if speaker == "rui" else "c1|Olá.\n"
        )
    _, rejects = run(language="pt")
    assert {i: r.code for i, r in rejects.items()} == {"rui-c2": "columns"}
    assert rejects["rui-c2"].reason.startswith("in rui/: metadata.csv, line 2: 4 columns, expected 2")


def test_common_voice_of_several_languages_side_by_side(clips):
    corpora.common_voice(CORPUS / "es", clips[:6])
    corpora.common_voice(CORPUS / "pt", clips[6:] + clips[:5])
    kept, _ = run()
    assert {u.language for u in kept.values()} == {"es"}, "the column says so"
    assert {i.split("-")[0] for i in kept} == {"es", "pt"}


# --- parts


def test_librispeech_keeps_part_and_gender_in_the_folder_of_its_archive(clips):
    corpora.librispeech(CORPUS / "LibriSpeech", clips)
    found = run()[0].values()
    assert [u.part for u in found] == ["train"] * 6 + ["val"] * 2
    assert {(u.gender, u.speaker) for u in found} == {(corpora.GENDER, corpora.SPEAKER)}


def test_two_archives_of_librispeech_each_have_their_table_of_speakers(clips):
    corpora.librispeech(CORPUS / "one", clips[:6])
    corpora.librispeech(CORPUS / "two", clips)
    shutil.rmtree(CORPUS / "two/train-clean-100")
    (CORPUS / "two/SPEAKERS.TXT").write_text(f"{corpora.SPEAKER} | M | dev-other\n")
    genders = {(u.audio.split("/")[3], u.part, u.gender) for u in run()[0].values()}
    assert genders == {("one", "train", "f"), ("two", "val", "m")}


def test_kaldi_recipes_have_their_folders_in_data(clips):
    for part, some in (("train", clips[:6]), ("dev", clips[6:7]), ("test", clips[7:])):
        corpora.kaldi(CORPUS / "data" / part, some)
        shutil.copytree(CORPUS / "data" / part / "audio", CORPUS / "audio", dirs_exist_ok=True)
        shutil.rmtree(CORPUS / "data" / part / "audio")
    assert [u.part for u in run()[0].values()] == ["train"] * 6 + ["val", "test"]


# --- lhotse


def test_lhotse_cuts_hold_their_recordings_and_supervisions():
    save(CORPUS / "audio/r.wav", voice(4.0))
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "/old/audio/r.wav"}],
                 "sampling_rate": 24_000, "num_samples": 96_000, "duration": 4.0}  # fmt: skip
    said = [("a", 0.25, 1.0, "Olá."), ("b", 1.5, 0.5, "Tudo bem?")]
    cuts = [
        {"id": f"cut-{i}", "start": 0.5, "duration": 3.0, "type": "MonoCut", "recording": recording,
         "supervisions": [{"id": i, "start": s, "duration": d, "text": t, "speaker": "ana"}]}
        for i, s, d, t in said
    ]  # fmt: skip
    bad = [{**cuts[0], "supervisions": []}, {**cuts[0], "supervisions": 5}, {**cuts[0], "start": "x"}]
    lines = [*map(json.dumps, [*cuts, *bad]), "{"]
    (CORPUS / "cuts_train.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    assert layouts.find(CORPUS) is layouts.LAYOUTS["lhotse"]
    kept, rejects = run(language="pt")
    assert {i: (u.start_s, u.end_s, u.text, u.speaker, u.part) for i, u in kept.items()} == {
        "a": (0.75, 1.75, "Olá.", "ana", "train"), "b": (2.0, 2.5, "Tudo bem?", "ana", "train"),
    }  # fmt: skip
    assert sorted(r.code for r in rejects.values()) == ["json", "no-transcript", "no-transcript", "segment"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"type": "command", "source": "sph2pipe a.sph"}, "command"),
        ({"type": "url", "source": "https://example.org/a.wav"}, "missing"),
        ({"type": "file", "source": "../../secret.wav"}, "outside-root"),
        ({"type": "file", "source": ["a"]}, "missing"),
        (None, "missing"),
    ],
)
def test_lhotse_sources_that_are_no_file_of_the_corpus_are_rejected(source, code):
    save(CORPUS.parent / "secret.wav", voice())
    good = {"type": "file", "source": "a.wav"}
    save(CORPUS / "a.wav", voice())
    recordings = [{"id": i, "sources": [s], "sampling_rate": 1} for i, s in (("a", good), ("b", source))]
    supervisions = [
        {"id": f"s{i}", "recording_id": i, "start": 0, "duration": 1, "text": "Olá."} for i in ("a", "b", "c")
    ]
    for name, rows in (("recordings", recordings), ("supervisions", supervisions)):
        (CORPUS / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, rejects = run(language="pt")
    assert list(kept) == ["sa"]
    assert {i: r.code for i, r in rejects.items()} == {"sb": code, "sc": "missing"}


# --- formats that are not read


def test_recordings_without_a_transcript_say_what_is_missing():
    for name in ("1", "2"):
        save(CORPUS / f"ana/{name}.wav", voice())
    with pytest.raises(
        InputError, match=r"2 recordings are there \(such as ana/1\.wav\), but no transcripts\. Put"
    ):
        run()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train/data-00000-of-00001.arrow", r"save_to_disk, which is not read\. Write it as Parquet"),
        ("transcripts.xlsx", "Excel workbook; save the sheet as CSV"),
        ("ana/1.eaf", "ELAN's; export them"),
        ("data.pkl", "pickles, which are never opened"),
    ],
)
def test_a_format_that_is_not_read_is_named_with_the_fix(name, said):
    save(CORPUS / "ana/1.wav", voice())
    (CORPUS / name).parent.mkdir(exist_ok=True)
    (CORPUS / name).write_bytes(b"x")
    with pytest.raises(InputError, match=said):
        run()


def test_a_transcript_beside_audio_of_a_format_that_is_not_read_says_so():
    speak("ana/1")
    (CORPUS / "ana/memo.lab").write_text("Oi.")
    (CORPUS / "ana/memo.shn").write_bytes(b"ajkg")
    _, rejects = run(language="pt")
    assert {i: r.code for i, r in rejects.items()} == {"ana-memo": "format"}
    assert "ana/memo.shn is beside ana/memo.lab" in rejects["ana-memo"].reason
