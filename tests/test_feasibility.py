"""What cannot be trained on or spoken is named before the first step, with its length, limit and fix."""

import dataclasses
from pathlib import Path

import pytest
import torch

import families
import tiny
from sotaque import backends, manifest
from sotaque.backends import durations, references
from sotaque.backends.families import OrpheusGeneration
from sotaque.backends.protocol import Reference
from sotaque.errors import InputError
from sotaque.manifest import Utterance
from sotaque.training import feasibility, train
from test_train import with_train

MODEL = Path("workflow/models/tiny.yaml")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.world()


def rewrite(part, change):
    path = Path(f"data/splits/{part}.jsonl")
    manifest.write(path, [change(number, clip) for number, clip in enumerate(manifest.read(path))])


def test_most_minutes_over_max_tokens_stop_the_run_with_the_fix(settings, monkeypatch):
    """Nine of twelve clips are too long: to train on the rest is not what was asked for."""
    rewrite("train", lambda n, clip: dataclasses.replace(clip, text="muito " * 50) if n < 9 else clip)
    monkeypatch.setattr(train, "fit", None)
    told = (
        r"train\.jsonl: \d+% of the minutes would be left out: clip-000: 0\.1 s, \d+ tokens; "
        r"train\.max_tokens is 200; .* Raise train\.max_tokens, now 200, .* \(the longest has \d+ tokens\)"
    )
    with pytest.raises(InputError, match=told):
        tiny.train(with_train(settings, max_tokens=200))


def test_what_is_left_out_is_summed(settings, caplog):
    rewrite("train", lambda n, clip: dataclasses.replace(clip, text="muito " * 50) if n < 2 else clip)
    tiny.train(with_train(settings, max_tokens=200))
    assert "2 of 12 clips of data/splits/train.jsonl (0.0 of 0.0 min) are left out" in caplog.text


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_text_that_the_model_cannot_read_stops_before_training(settings, monkeypatch, part):
    """select or synthesize would stop at it, after the training."""
    clip, other = manifest.read(Path("data/splits/val.jsonl"))[:2]
    bad = dataclasses.replace(clip, text="diga <custom_token_2> agora")
    manifest.write(Path(f"data/splits/{part}.jsonl"), [bad, other])
    monkeypatch.setattr(train, "fit", None)
    told = rf"1 of the val and test clips cannot be spoken .*/{part}\.jsonl: clip-012: .* spells .* Correct"
    with pytest.raises(InputError, match=told):
        tiny.train(settings)


def utterance(name, text, duration_s, speaker="ana"):
    return Utterance(name, f"{name}.wav", text, speaker, "pt", duration_s=duration_s)


@pytest.fixture
def backend(tmp_path):
    (tmp_path / "base").mkdir()
    return backends.load("orpheus", families.shipped(tmp_path / "base"), torch.device("cpu"))


def check(backend, tmp_path, clips, generation):
    manifest.write(tmp_path / "splits/val.jsonl", clips)
    manifest.write(tmp_path / "splits/test.jsonl", [])
    return feasibility.check_texts(backend, generation, tmp_path / "splits", lambda _: None, MODEL)


def test_texts_that_would_be_cut_are_named_by_cause(backend, tmp_path, caplog):
    """The micro base has room for 20 s; max_s is 5 s; `Oi.` is expected in 0.66 s and stopped at 3.98 s."""
    text = "uma frase " * 30
    clips = [
        utterance("ok", text, 4.9), utterance("user", text, 5.1), utterance("slow", "Oi.", 4.0),
    ]  # fmt: skip
    cuts = check(backend, tmp_path, clips, OrpheusGeneration(max_s=5.0))
    assert [(cut.id, cut.cause) for cut in cuts] == [
        ("slow", feasibility.BY_TEXT), ("user", feasibility.BY_USER),
    ]  # fmt: skip
    assert (
        "user: 5.1 s, its limit is 4.9 s. Take generation.max_s (5.0) out of workflow/models/tiny.yaml"
        in (caplog.text)
    )
    assert "slow: 4.0 s, its limit is 3.9 s. They are read 3 times as slowly as usual" in caplog.text


def test_a_recording_longer_than_the_context_is_named(backend, tmp_path, caplog):
    text = "uma frase " * 30
    [cut] = check(backend, tmp_path, [utterance("long", text, 25.0)], OrpheusGeneration())
    assert cut.cause == feasibility.BY_CONTEXT
    assert cut.limit_s < 25.0 < durations.limit_s(text, "pt")
    assert "1 val and test clips would be cut, by the model's context: long: 25.0 s" in caplog.text
    assert "lower normalize.max_s" in caplog.text


def test_a_csm_that_stopped_at_ten_seconds_now_has_room(tmp_path):
    """A sentence of 14 s, which 125 frames cut; a network of 2,048 positions has room for it."""
    backend = backends.load("csm", families.FAMILIES["csm"].make(tmp_path / "base"), torch.device("cpu"))
    reference = Reference("outra frase", Path("r.wav"), backend.encode([tiny.wave(2.0, 0)])[0])
    manifest.write(tmp_path / "splits/val.jsonl", [utterance("long", "uma frase longa " * 12, 14.0)])
    found = feasibility.check_texts(
        backend, backend.generation(), tmp_path / "splits", lambda _: reference, MODEL
    )
    assert found == []


def test_a_held_out_clip_without_a_reference_stops_the_run_before_the_first_step(tmp_path):
    """As with split.by: speaker: rui has no training clip, and CSM speaks only after one."""
    backend = backends.load("csm", families.FAMILIES["csm"].make(tmp_path / "base"), torch.device("cpu"))
    manifest.write(tmp_path / "splits/val.jsonl", [utterance("lone", "uma frase", 2.0)])
    with pytest.raises(InputError, match=r"1 of the val and test clips cannot be spoken .*lone: speaker"):
        feasibility.check_texts(
            backend,
            backend.generation(),
            tmp_path / "splits",
            lambda clip: references.nearest_to_best([], clip.speaker, 1.0),
            MODEL,
        )
