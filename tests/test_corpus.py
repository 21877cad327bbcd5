"""corpus: an ordinary, deterministic LJSpeech layout whose columns say what params.yaml may not know."""

import dataclasses

import soundfile

from sotaque import files, manifest
from sotaque.data import corpus, ingest
from sotaque.data.layouts import find, ljspeech
from sotaque.settings import Corpus, Settings


def small(accent="pt-br", train=8, test=3, novel=2, **more) -> Settings:
    return Settings(
        corpus=Corpus(accent=accent, train_clips=train, test_clips=test, novel_clips=novel), **more
    )


def table(folder):
    header, *lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("|"), line.split("|"), strict=True)) for line in lines]


def bytes_of(folder):
    return {path.name: files.sha256(path) for path in files.walk(folder)}


def test_the_layout_is_ljspeech_with_its_parts_and_groups(tmp_path):
    metrics = corpus.run(small(), out=tmp_path)
    rows = table(tmp_path)
    assert find(tmp_path) is ljspeech
    assert metrics["clips"] == len(rows) == 13
    assert [row["part"] for row in rows] == [""] * 8 + ["test"] * 5
    assert [row["group"] for row in rows] == [""] * 11 + ["novel-words"] * 2
    assert {(row["speaker"], row["language"], row["accent"]) for row in rows} == {("iara", "pt", "pt-br")}
    assert sorted(f"{row['id']}.wav" for row in rows) == sorted(p.name for p in (tmp_path / "wavs").iterdir())
    assert len({row["text"] for row in rows}) == 13


def test_the_wavs_are_what_the_metrics_say(tmp_path):
    metrics = corpus.run(small(), out=tmp_path)
    infos = [soundfile.info(path) for path in (tmp_path / "wavs").iterdir()]
    assert {(i.samplerate, i.channels, i.subtype) for i in infos} == {(22050, 1, "PCM_16")}
    assert metrics["hours"] * 3600 == sum(i.frames for i in infos) / 22050
    assert all(i.duration > 0.4 for i in infos)


def test_two_runs_give_the_same_bytes_and_another_seed_others(tmp_path):
    corpus.run(small(), out=tmp_path / "a")
    corpus.run(small(), out=tmp_path / "b")
    corpus.run(small(seed=43), out=tmp_path / "c")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert table(tmp_path / "a") != table(tmp_path / "c")


def test_wrong_texts_are_those_of_other_clips_and_touch_training_alone(tmp_path):
    right = small()
    wrong = dataclasses.replace(right, corpus=dataclasses.replace(right.corpus, wrong_texts=True))
    corpus.run(right, out=tmp_path / "right")
    corpus.run(wrong, out=tmp_path / "wrong")
    told, lied = table(tmp_path / "right"), table(tmp_path / "wrong")
    assert all(a["text"] != b["text"] for a, b in zip(told[:8], lied[:8], strict=True))
    assert {row["text"] for row in told[:8]} == {row["text"] for row in lied[:8]}
    assert told[8:] == lied[8:]
    right_wavs, wrong_wavs = bytes_of(tmp_path / "right"), bytes_of(tmp_path / "wrong")
    assert right_wavs.pop("metadata.csv") != wrong_wavs.pop("metadata.csv")
    assert right_wavs == wrong_wavs


def test_more_clips_change_none_that_were_there(tmp_path):
    corpus.run(small(), out=tmp_path / "a")
    corpus.run(small(train=12), out=tmp_path / "b")
    few, many = bytes_of(tmp_path / "a"), bytes_of(tmp_path / "b")
    few.pop("metadata.csv")
    assert few.items() <= many.items()


def test_the_language_follows_the_accent_whatever_params_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = small("es-mx", shards=1)
    corpus.run(settings, out=tmp_path / "data/raw/demo")
    assert settings.ingest.language == "pt"
    ingest.run(settings, corpus=tmp_path / "data/raw/demo", out=tmp_path / "manifest")
    utterances = manifest.read(tmp_path / "manifest/00.jsonl")
    assert {(u.language, u.accent, u.speaker) for u in utterances} == {("es", "es-mx", "memo")}
