"""The rule by which a checkpoint is chosen, on tables that can be checked by hand; and the stage itself."""

import dataclasses
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
from sotaque.training.select import Candidate, ClipScores, choose, warn

TARGETS = Targets(wer=0.15, similarity=0.85)


def candidate(step, wer, similarity, failed=0, clips=16, val_nats=None, ratio=1.0):
    """A checkpoint whose clips are all alike: 100 words each, of which `wer` are wrong."""
    return Candidate(step, tuple(
        ClipScores(
            id=f"c{i}", speaker="ana", word_errors=round(100 * wer), words=100, similarity=similarity,
            failure="limit" if i < failed else None, duration_s=2.0 * ratio, recording_s=2.0,
        )
        for i in range(clips)
    ), val_nats)  # fmt: skip


def vary(of, similarities):
    """The candidate with another similarity for each clip."""
    clips = zip(of.clips, similarities, strict=True)
    changed = tuple(dataclasses.replace(clip, similarity=value) for clip, value in clips)
    return dataclasses.replace(of, clips=changed)


BASE = candidate(0, 0.3, 0.6)


@pytest.mark.parametrize(("checkpoints", "step"), [
    ([candidate(50, 0.1, 0.9), candidate(100, 0.3, 0.95)], 50),
    ([candidate(50, 0.3, 0.7), candidate(100, 0.2, 0.75), candidate(150, 0.4, 0.8)], 100),
    ([candidate(50, 0.2, 0.7), candidate(100, 0.2, 0.7)], 50),
    ([candidate(50, 0.01, 0.99, failed=16, ratio=3.0), candidate(100, 0.2, 0.8)], 100),
    ([candidate(50, 0.01, 0.99, failed=1), candidate(100, 0.14, 0.86)], 100),
    ([candidate(50, 0.2, 0.0), candidate(100, 0.25, 0.7)], 100),
    ([candidate(50, 0.15, 0.99), candidate(100, 0.14, 0.86)], 100),
], ids=[
    "meets-the-targets", "best-score", "earliest-of-equals", "never-stops", "failures-before-targets",
    "no-voice", "targets-before-score",
])  # fmt: skip
def test_the_rule(checkpoints, step):
    """Where all clips are alike, every difference of scores is significant."""
    assert choose([BASE, *checkpoints], TARGETS)[0].step == step


def test_a_clean_checkpoint_beats_one_that_never_stops_and_meets_the_targets():
    """The never-stopping one has the better WER and similarity: silence after the text costs no word."""
    endless = candidate(150, 0.02, 0.95, failed=16, ratio=3.0)
    clean = candidate(300, 0.12, 0.88)
    chosen, reason = choose([BASE, endless, clean], TARGETS)
    assert chosen is clean
    assert reason.startswith("0 of 16 clips failed at step 300, and it meets the targets")


def test_the_earliest_that_chance_does_not_tell_from_the_best_wins():
    """Step 50 is better in half of the clips and worse in half; step 20 is worse in every clip."""
    best = candidate(100, 0.1, 0.90)
    near = vary(candidate(50, 0.1, 0.0), [0.95, 0.84] * 8)
    worse = vary(candidate(20, 0.1, 0.0), [0.87, 0.86] * 8)
    chosen, reason = choose([BASE, worse, near, best], TARGETS)
    assert chosen is near
    assert "it is the earliest whose score (similarity - WER), 0.795, is not significantly worse" in reason
    assert reason.endswith("than the best, 0.800 at step 100")


def test_with_one_text_every_difference_counts():
    checkpoints = [candidate(50, 0.1, 0.89, clips=1), candidate(100, 0.1, 0.9, clips=1)]
    assert choose([candidate(0, 0.3, 0.6, clips=1), *checkpoints], TARGETS)[0].step == 100


@pytest.mark.parametrize(("base", "kept"), [
    (candidate(0, 0.1, 0.9), True),
    (candidate(0, 0.2, 0.7), True),
    (candidate(0, 0.21, 0.9), False),
    (candidate(0, 0.1, 0.69), False),
], ids=["best-in-both", "equal-in-both", "a-better-wer", "a-better-similarity"])  # fmt: skip
def test_the_base_wins_only_when_no_checkpoint_is_better_in_any_target(base, kept):
    chosen, reason = choose([base, candidate(50, 0.3, 0.5), candidate(100, 0.2, 0.7)], TARGETS)
    assert (chosen is base) == kept
    assert reason.startswith("the base is kept (step 0)") == kept


def test_a_checkpoint_worse_than_the_base_in_both_metrics_takes_no_part():
    """Step 50 has fewer failed clips than step 100, and is worse than the base in both metrics."""
    base, worse = candidate(0, 0.1, 0.7), candidate(50, 0.2, 0.65)
    assert choose([base, worse, candidate(100, 0.0, 0.9, failed=1)], TARGETS)[0].step == 100


def test_two_speakers_do_not_make_every_difference_a_matter_of_chance():
    """One of two speakers is far worse at step 150: clips, not speakers, are compared."""

    def make(step, errors, similarities):
        clips = candidate(step, 0.0, 0.0).clips
        return Candidate(step, tuple(
            dataclasses.replace(
                clip, speaker="ab"[i % 2], words=10, word_errors=errors[i % 2], similarity=similarities[i % 2]
            )
            for i, clip in enumerate(clips)
        ))  # fmt: skip

    table = [make(0, (1, 1), (0.6, 0.6)), make(150, (9, 2), (0.55, 0.65)), make(300, (1, 0), (0.8, 0.8))]
    assert choose(table, TARGETS)[0].step == 300


def test_with_few_clips_a_higher_wer_is_a_warning():
    base, chosen = candidate(0, 0.0, 0.6, clips=4), candidate(50, 0.9, 0.61, clips=4)
    assert "step 50 has a WER of 0.900, above the base's 0.000" in warn(chosen, [base, chosen])


def test_the_score_is_the_mean_of_what_the_clips_add():
    """Clips of unlike lengths: the score has the WER of the corpus, not the mean of the clips' WERs."""
    clips = [("a", 1, 2, 0.9), ("b", 0, 8, 0.7), ("c", 3, 5, None)]
    made = Candidate(10, tuple(
        ClipScores(name, "ana", errors, words, similarity, None, 1.0, 1.0)
        for name, errors, words, similarity in clips
    ))  # fmt: skip
    assert made.score == pytest.approx(0.8 - 4 / 15)
    assert made.clip_scores.mean() == pytest.approx(made.score)


def test_a_choice_worse_than_the_base_comes_with_a_warning():
    base = candidate(0, 0.1, 0.6, val_nats=2.0)
    chosen = candidate(50, 0.3, 0.9, failed=3, val_nats=1.9)
    last = candidate(100, 0.4, 0.9, failed=4, val_nats=2.5)
    assert [warning.split(",")[0] for warning in warn(chosen, [base, chosen, last])] == [
        "validation loss ended at 2.500 nats (step 100)",
        "step 50 failed in 3 of 16 clips",
        "step 50 has a WER of 0.300",
    ]
    better = candidate(50, 0.05, 0.9, val_nats=1.0)
    assert warn(better, [base, better]) == []


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


def test_every_checkpoint_and_the_base_are_judged(settings):
    metrics = select.run(settings, **READS, out=Path("models/tiny/selected"))
    written = files.read_json(Path("models/tiny/selected.json"))
    assert [row["step"] for row in written["candidates"]] == [0, 2, 4, 6]
    assert all(row["val_nats"] > 0 and row["wer"] >= 0 for row in written["candidates"])
    assert len(written["texts"]) == 2
    assert written["step"] == metrics["step"] in (0, 2, 4, 6)
    assert all(row["failed"] == sum(row["failures"].values()) <= 2 for row in written["candidates"])
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
    assert base["failures"]["limit"] == unstopped > 0


def test_nothing_to_choose_from_is_an_error(settings):
    for step in (2, 4, 6):
        shutil.rmtree(READS["lora"] / f"step-00000{step}")
    with pytest.raises(ModelError, match="models/tiny/lora has no adapter"):
        select.run(settings, **READS, out=Path("models/tiny/selected"))


def test_nothing_to_speak_is_an_error(settings):
    manifest.write(READS["splits"] / "val.jsonl", [])
    with pytest.raises(InputError, match=r"val.jsonl has no utterance"):
        select.run(settings, **READS, out=Path("models/tiny/selected"))
