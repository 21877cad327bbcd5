"""The rule by which a checkpoint is chosen, on tables that can be checked by hand; and the stage itself."""

import dataclasses
import random
import shutil
from pathlib import Path

import pytest
import torch

import spoken
import tiny
from sotaque import backends, device, files, manifest, model_spec
from sotaque.backends.protocol import Prompt
from sotaque.errors import InputError, ModelError
from sotaque.evaluation import curves, synthesize
from sotaque.settings import Select, Targets
from sotaque.training import select, train
from sotaque.training.select import Candidate, choose

TARGETS = Targets(wer=0.15, similarity=0.85)


def heard(step, wer, similarity, unstopped=0.0):
    return Candidate(step, wer, similarity, duration_ratio=1.0, unstopped=unstopped, val_nats=None)


@pytest.mark.parametrize(("candidates", "step"), [
    ([heard(0, 0.1, 0.9), heard(50, 0.2, 0.9), heard(100, 0.1, 0.86), heard(150, 0.05, 0.95)], 100),
    ([heard(0, 0.1, 0.9), heard(50, 0.3, 0.7), heard(100, 0.2, 0.75), heard(150, 0.4, 0.8)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.9, 0.1)], 50),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, 0.7), heard(100, 0.2, 0.7)], 50),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, 0.8, unstopped=0.5), heard(100, 0.3, 0.7)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, None), heard(100, 0.5, 0.4)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.15, 0.85), heard(100, 0.1, 0.99)], 100),
], ids=["earliest", "best-score", "never-the-base", "ties", "unstopped", "no-voice", "strictly"])  # fmt: skip
def test_the_rule(candidates, step):
    assert choose(candidates, TARGETS)[0].step == step


def test_what_is_chosen_is_never_worse_than_the_last():
    """Of 300 tables drawn at random: it meets the targets, or its score is the last one's or better."""
    draw = random.Random(3)
    for _ in range(300):
        table = [
            heard(
                step,
                draw.choice([0.1, 0.14, 0.3, 0.9]),
                draw.choice([None, 0.5, 0.86, 0.9]),
                draw.choice([0.0, 0.5]),
            )
            for step in range(0, 50 * draw.randint(2, 6), 50)
        ]
        chosen, reason = choose(table, TARGETS)
        assert chosen.meets(TARGETS) or chosen.score >= table[-1].score
        assert chosen.meets(TARGETS) >= table[-1].meets(TARGETS)
        beside = f"where the last one, step {table[-1].step}, has {table[-1].score:.3f}"
        assert (beside in reason) == (not chosen.meets(TARGETS) and chosen.step != table[-1].step)


def test_the_reason_names_step_and_targets():
    _, met = choose([heard(0, 1, 0), heard(50, 0.1, 0.9)], TARGETS)
    assert met == "step 50 is the earliest with WER below 0.15 and similarity above 0.85"
    _, missed = choose([heard(0, 1, 0), heard(50, 0.9, 0.9)], TARGETS)
    assert missed.startswith("no checkpoint has WER below 0.15")
    assert "step 50 has the best score" in missed


READS = {
    "model": Path("workflow/models/tiny.yaml"), "splits": Path("data/splits"),
    "base": Path("models/tiny/base"), "lora": Path("models/tiny/lora"),
}  # fmt: skip


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A trained tiny model, and recordings of real speech to validate it with."""
    monkeypatch.chdir(tmp_path)
    settings = tiny.world()
    train.run(settings, model=READS["model"], splits=READS["splits"], tokens=Path("data/tokens/tiny"),
              base=READS["base"], out=READS["lora"])  # fmt: skip
    spoken.whisper(READS["base"] / "asr")
    clips = [spoken.utterance(f"v{i}", text) for i, text in enumerate(spoken.TEXTS)]
    manifest.write(READS["splits"] / "train.jsonl", clips[:1])
    manifest.write(READS["splits"] / "val.jsonl", clips[1:])
    return dataclasses.replace(settings, select=Select(clips=2))


def test_every_checkpoint_and_the_base_are_heard(settings):
    metrics = select.run(settings, **READS, out=Path("models/tiny/selected"))
    written = files.read_json(Path("models/tiny/selected.json"))
    assert [row["step"] for row in written["candidates"]] == [0, 2, 4, 6]
    assert all(row["val_nats"] > 0 and row["wer"] >= 0 for row in written["candidates"])
    assert len(written["texts"]) == 2
    assert written["step"] == metrics["step"] in (2, 4, 6)
    assert curves.read_selection(Path("models/tiny/selected.json")).reason == written["reason"]
    first = Path("models/tiny/selected.json").read_bytes()
    select.run(settings, **READS, out=Path("models/tiny/selected"))
    assert Path("models/tiny/selected.json").read_bytes() == first


def test_durations_and_stops_are_those_of_what_was_spoken(settings):
    """The base's row, counted another way: from the codes."""
    select.run(settings, **READS, out=Path("models/tiny/selected"))
    written = files.read_json(Path("models/tiny/selected.json"))
    backend = backends.load("orpheus", READS["base"], torch.device("cpu"))
    generation = model_spec.read("tiny").generation
    clips = [u for u in manifest.read(READS["splits"] / "val.jsonl") if u.id in written["texts"]]
    network = backend.load_network(dtype=device.speaking_dtype(backend.device))
    prompts = [Prompt(clip.text, clip.speaker) for clip in clips]
    seeds = [synthesize.seed_of(settings.seed, clip.id) for clip in clips]
    said = backend.generate(network, prompts, generation, seeds)
    frames, unstopped = sum(len(one.codes) for one in said), sum(not one.stopped for one in said)
    base = written["candidates"][0]
    expected = frames / backend.frame_rate_hz / sum(u.duration_s for u in clips)
    assert base["duration_ratio"] == pytest.approx(expected)
    assert base["unstopped"] == unstopped / len(clips)


def test_nothing_to_choose_from_is_an_error(settings):
    for step in (2, 4, 6):
        shutil.rmtree(READS["lora"] / f"step-00000{step}")
    with pytest.raises(ModelError, match="models/tiny/lora has no adapter"):
        select.run(settings, **READS, out=Path("models/tiny/selected"))


def test_nothing_to_speak_is_an_error(settings):
    manifest.write(READS["splits"] / "val.jsonl", [])
    with pytest.raises(InputError, match=r"val.jsonl has no utterance"):
        select.run(settings, **READS, out=Path("models/tiny/selected"))
