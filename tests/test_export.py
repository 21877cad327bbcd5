"""export: what other programs are given is read back as the same utterances, by our own ingest."""

import json
import shutil
import subprocess
import sys
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import corpora
import tiny
from sotaque import __main__, audio, manifest
from sotaque.data import export, ingest, layouts, normalize
from sotaque.data.split import PARTS
from sotaque.data.tokenize import Tokens
from sotaque.errors import InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Layout, Settings

SETTINGS = Settings(
    shards=2, ingest=Ingest(corpus="mine", language=corpora.LANGUAGE, speaker=corpora.SPEAKER)
)
EXPORTED = Path("data/export")
LOAD = (
    "import os; from sotaque.data import export; from sotaque.settings import Settings; settings = Settings()"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the eight clips have come as far as data/splits."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models = Path("workflow/models")
        models.mkdir(parents=True)
        shutil.copy(Path(__file__).parent.parent / "workflow/models/micro.yaml", models)
        corpora.audiofolder(Path("data/raw/mine"), corpora.clips(folder / "sounds", "wav"))
        ingest.run(SETTINGS, corpus=Path("data/raw/mine"), out=Path("data/manifest"))
        for shard in ("00", "01"):
            normalize.run(
                SETTINGS, model=models / "micro.yaml", manifest=Path("data/manifest"), shard=shard,
                out=Path("data/wav") / shard,
            )  # fmt: skip
        made = [u for s in ("00", "01") for u in manifest.read(Path(f"data/wav/{s}/manifest.jsonl"))]
        first = next(u for u in made if u.part == "train")
        for part in PARTS:
            members = [replace(u, part="val") if u is first else u for u in made]
            manifest.write(Path(f"data/splits/{part}.jsonl"), [u for u in members if u.part == part])
    return folder


@pytest.fixture
def work(finished, tmp_path, monkeypatch):
    """The paths of the clips lead to the finished folder's own WAVs, so nothing there is written to."""
    shutil.copytree(finished / "data", tmp_path / "data")
    shutil.copytree(finished / "workflow", tmp_path / "workflow")
    monkeypatch.chdir(tmp_path)


def exported():
    return [u for part in PARTS for u in manifest.read(Path(f"data/splits/{part}.jsonl"))]


def read_back(layout: str, wanted: Settings = SETTINGS):
    """What our own ingest finds in the export."""
    folder = EXPORTED / layout
    assert layouts.find(folder) is layouts.LAYOUTS[layout]
    ingest.run(wanted, corpus=folder, out=Path("again"))
    assert not manifest.read(Path("again/rejects.jsonl"), Reject)
    return [u for shard in ("00", "01") for u in manifest.read(Path(f"again/{shard}.jsonl"))]


def told(utterance, *fields):
    return [getattr(utterance, field) for field in fields]


@pytest.mark.parametrize(
    ("layout", "fields"),
    [
        ("fish", ("text", "speaker", "duration_s")),
        ("ljspeech", ("id", "text", "duration_s")),
        ("audiofolder", ("id", "text", "speaker", "language", "accent", "gender", "duration_s", "part")),
    ],
)
def test_what_is_exported_is_read_back_as_the_same_utterances(layout, fields, work):
    assert export.run(SETTINGS, to=layout) == 0
    found = {u.text: u for u in read_back(layout)}
    assert len(found) == 8
    for utterance in exported():
        other = found[utterance.text]
        assert told(other, *fields) == told(utterance, *fields)
        assert Path(other.audio).read_bytes() == Path(utterance.audio).read_bytes()


def test_the_lines_are_those_that_other_programs_read(work):
    for layout in export.FORMATS:
        export.run(SETTINGS, to=layout)
    first = sorted(exported(), key=lambda u: u.id)[0]
    lines = (EXPORTED / "ljspeech/metadata.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"{first.id}|{first.text}|{first.text}"
    label = EXPORTED / "fish" / first.speaker / f"{first.id}.lab"
    assert label.read_text(encoding="utf-8") == first.text
    folder = EXPORTED / "audiofolder" / {"val": "validation"}.get(first.part, first.part)
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    record = next(r for r in records if r["id"] == first.id)
    assert record["file_name"] == f"{first.id}.wav"
    assert (folder / record["file_name"]).is_file()


def test_typed_again_it_leaves_all_as_it_is_and_mends_what_is_not(work):
    export.run(SETTINGS, to="fish")
    whole = tiny.tree(EXPORTED)
    before = {p: p.stat().st_mtime_ns for p in EXPORTED.rglob("*")}
    export.run(SETTINGS, to="fish")
    assert {p: p.stat().st_mtime_ns for p in EXPORTED.rglob("*")} == before
    wavs = sorted(EXPORTED.rglob("*.wav"))
    wavs[0].with_suffix(".lab").unlink()
    wavs[1].write_bytes(wavs[1].read_bytes()[:-2])
    export.run(SETTINGS, to="fish")
    assert tiny.tree(EXPORTED) == whole
    assert wavs[2].stat().st_mtime_ns == before[wavs[2]], "what was right is not copied again"


def test_an_export_is_there_as_a_whole_or_not_at_all(work, monkeypatch):
    """The disk is full, or the command is killed: nothing, or the export before, is in its place."""
    real = shutil.copy2

    def failing(source, target):
        if len(list(target.parent.iterdir())) == 5:
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", failing)
        with pytest.raises(OSError, match="No space"):
            export.run(SETTINGS, to="ljspeech")
        assert not list(EXPORTED.iterdir())
    export.run(SETTINGS, to="ljspeech")
    whole = tiny.tree(EXPORTED)
    rows = manifest.read(Path("data/splits/train.jsonl"))
    manifest.write(Path("data/splits/train.jsonl"), [replace(rows[0], text="Otra cosa."), *rows[1:]])
    killed = f"{LOAD}; os.link = lambda *_: os.kill(os.getpid(), 9); export.run(settings, to='ljspeech')"
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -9
    assert {name: value for name, value in tiny.tree(EXPORTED).items() if ".part" not in name} == whole
    assert len(list(EXPORTED.iterdir())) == 2
    export.run(SETTINGS, to="ljspeech")
    assert [path.name for path in EXPORTED.iterdir()] == ["ljspeech"]
    assert "Otra cosa." in (EXPORTED / "ljspeech/metadata.csv").read_text()


def test_an_export_shares_no_bytes_with_the_pipeline(work):
    export.run(SETTINGS, to="ljspeech")
    for utterance in exported():
        copy = EXPORTED / f"ljspeech/wavs/{utterance.id}.wav"
        assert not copy.samefile(utterance.audio)


def test_a_clip_that_is_gone_or_strange_files_stop_it_and_are_left_alone(work):
    export.run(SETTINGS, to="ljspeech", out=Path("there"))
    mine = Path("there/.diary.txt.part")
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"1 files there are not of this export, such as \.diary\.txt\.part"):
        export.run(SETTINGS, to="ljspeech", out=Path("there"))
    assert mine.read_text() == "mine"
    mine.unlink()
    rest = manifest.read(Path("data/splits/train.jsonl"))[1:]
    manifest.write(Path("data/splits/train.jsonl"), rest)
    with pytest.raises(InputError, match=r"such as wavs/.*take them away, or name another folder with --out"):
        export.run(SETTINGS, to="ljspeech", out=Path("there"))


def test_a_text_that_ljspeech_cannot_hold_goes_to_the_rejects(work):
    rows = manifest.read(Path("data/splits/train.jsonl"))
    manifest.write(Path("data/splits/train.jsonl"), [replace(rows[0], text="uno | dos"), *rows[1:]])
    export.run(SETTINGS, to="ljspeech")
    rejects = manifest.read(EXPORTED / "ljspeech/rejects.jsonl", Reject)
    assert [(r.id, r.stage, r.code) for r in rejects] == [(rows[0].id, "export", "columns")]
    assert len(read_back("ljspeech")) == 7


def test_several_speakers_are_told_where_the_layout_cannot_name_them(work, caplog):
    rows = manifest.read(Path("data/splits/train.jsonl"))
    manifest.write(Path("data/splits/train.jsonl"), [replace(rows[0], speaker="rui"), *rows[1:]])
    export.run(SETTINGS, to="ljspeech")
    assert "names no speakers, and there are 2" in caplog.text


def test_speakers_of_any_name_have_folders_of_their_own():
    names = ["João", "Ana", "ana", "../../x", "محمد", "a/b", ".hidden", "x" * 200, "con espacio", "fin "]
    folders = export.speaker_folders(names)
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    assert all(
        len(Path(f).parts) == 1 and f[0] not in ".-" and len(f.encode()) < 200 for f in folders.values()
    )
    assert [folders[n] for n in ("João", "محمد", "con espacio")] == ["João", "محمد", "con espacio"]


def test_codes_lie_beside_their_clip_codebooks_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = tiny.world()
    manifest.write(Path("data/splits/test.jsonl"), [])
    export.run(settings, to="fish")
    tokens = Tokens(Path("data/tokens/tiny"), ("00", "01"), Path("models/tiny/base"))
    clips = exported()
    for utterance in clips:
        codes = np.load(EXPORTED / f"fish/ana/{utterance.id}.npy", allow_pickle=False)
        assert codes.dtype == np.int16
        np.testing.assert_array_equal(codes.T, tokens.codes(utterance.id))
        assert len(codes) < codes.shape[1] or codes.shape[1] <= 7, "(codebooks, frames)"
        assert audio.read_header(EXPORTED / f"fish/ana/{utterance.id}.wav").rate_hz == tiny.RATE_HZ
    assert len(list(EXPORTED.rglob("*.npy"))) == len(clips)


def test_before_the_tokens_are_made_fish_has_no_codes_and_says_so(work, caplog):
    export.run(SETTINGS, to="fish")
    assert not list(EXPORTED.rglob("*.npy"))
    assert "without codes" in caplog.text


def test_what_is_not_made_yet_is_named(work):
    Path(exported()[0].audio).unlink()
    with pytest.raises(InputError, match=r"stands in data/splits, but its WAV is not there"):
        export.run(SETTINGS, to="fish")
    shutil.rmtree("data/splits")
    with pytest.raises(InputError, match=r"data/splits/train\.jsonl: there is no such file; run the stage"):
        export.run(SETTINGS, to="fish")


def test_the_command_line_knows_every_format_and_every_format_is_a_layout(work):
    assert set(__main__.FORMATS) == set(export.FORMATS) < set(typing.get_args(Layout))
    Path("params.yaml").write_text("{}\n")
    command = [sys.executable, "-m", "sotaque", "export", "--to"]
    done = subprocess.run([*command, "ljspeech", "--out", "there"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "8 of 8 clips, 9 files: there\n")
    refused = subprocess.run([*command, "kaldi"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "choose from" in refused.stderr
