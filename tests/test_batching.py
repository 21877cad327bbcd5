"""The order of samples: whole, repeatable from any position, like lengths together; and their references."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

from sotaque.backends.protocol import Prompt
from sotaque.data.tokenize import TokenRow
from sotaque.errors import InputError
from sotaque.manifest import Utterance
from sotaque.training.batching import Plan, Samples, Voices, epoch, in_order

LENGTHS = np.random.default_rng(0).integers(20, 300, size=103)


@pytest.mark.parametrize("batch_clips", [1, 4, 7, 200])
def test_an_epoch_has_every_sample_once(batch_clips):
    batches = epoch(LENGTHS, batch_clips, seed=1, number=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    assert len(batches) == -(-103 // batch_clips)
    assert max(map(len, batches)) <= batch_clips


def test_the_order_is_a_function_of_seed_and_epoch():
    def flat(seed, number):
        return np.concatenate(epoch(LENGTHS, 4, seed, number)).tolist()

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(2, 0)
    assert flat(1, 0) != flat(1, 1)


def test_this_very_order_on_every_machine():
    batches = epoch(np.arange(6), 2, seed=42, number=0)
    assert [batch.tolist() for batch in batches] == EXPECTED


EXPECTED = [[4, 5], [0, 1], [2, 3]]


def test_bucketing_wastes_little_padding():
    def padding(batches):
        return sum(LENGTHS[b].max() * len(b) - LENGTHS[b].sum() for b in batches) / LENGTHS.sum()

    shuffled = np.array_split(np.random.default_rng(0).permutation(103), 26)
    assert padding(epoch(LENGTHS, 4, 1, 0)) < 0.25 * padding(shuffled)


def test_a_plan_can_be_entered_anywhere():
    def plan():
        return Plan(LENGTHS, batch_clips=4, accumulate=3, epochs=2, seed=5)

    whole = plan()
    assert whole.steps == 2 * 9
    steps = [whole.batches(step) for step in range(1, whole.steps + 1)]
    for step in (18, 1, 9, 10):
        again = plan().batches(step)
        assert all(np.array_equal(a, b) for a, b in zip(again, steps[step - 1], strict=True))
    for half in (steps[:9], steps[9:]):
        flat = [index for step in half for batch in step for index in batch.tolist()]
        assert sorted(flat) == list(range(103))


def test_validation_takes_every_sample_once_shortest_first():
    flat = np.concatenate(in_order(LENGTHS, 4))
    assert sorted(flat.tolist()) == list(range(103))
    assert (np.diff(LENGTHS[flat]) >= 0).all()


class Listener:
    """A family that wants a reference; an example is the prompt itself, and costs its reference's frames."""

    wants_reference, shortest_reference_s = True, 1.0

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool):
        for text in (prompt.text, prompt.reference.text):
            if "<control>" in text:
                raise InputError(f"the text {text!r} spells a control token")
        return Heard(prompt.reference.text, len(prompt.reference.codes) + len(codes))


@dataclass(frozen=True)
class Heard:
    reference: str
    length: int

    def __len__(self):
        return self.length


class Stored:
    """Tokens of clips of so many frames."""

    def __init__(self, frames):
        self.frames = frames

    def row(self, name):
        return TokenRow(name, 0, self.frames[name], "")

    def codes(self, name):
        return np.zeros((self.frames[name], 1), np.int16)


def said(name, speaker="ana", duration_s=2.0):
    return Utterance(name, f"{name}.wav", f"text of {name}", speaker, "pt", duration_s=duration_s)


CLIPS = [*(said(f"a{i}") for i in range(5)), said("b0", "zé"), said("b1", "zé", 0.5), said("c0", "eva")]
STORED = Stored({clip.id: 10 for clip in CLIPS} | {"a4": 0})


def samples(max_tokens=100, seed=1, stored=STORED, utterances=CLIPS, recordings=CLIPS):
    voices = Voices(Listener(), stored, recordings, seed)
    return Samples(Listener(), stored, utterances, "train", max_tokens, True, voices)


def references(seed=1, epoch=0):
    made = samples(seed=seed)
    return {made.id(i): made.example(i, epoch).reference for i in range(len(made))}


def test_a_reference_is_another_clip_of_the_same_speaker():
    """Never the target, never one without tokens (a4), never one that is too short (b1)."""
    for number in range(20):
        found = references(epoch=number)
        assert set(found) == {"a0", "a1", "a2", "a3", "b1"}
        assert found["b1"] == "text of b0"
        for name in ("a0", "a1", "a2", "a3"):
            assert found[name] in {f"text of a{i}" for i in range(4)} - {f"text of {name}"}


def test_references_are_a_function_of_seed_epoch_and_clip():
    assert references() == references()
    assert len({references(epoch=number)["a0"] for number in range(20)}) == 3
    assert any(references(seed=2, epoch=n) != references(seed=1, epoch=n) for n in range(3))


def test_a_clip_without_a_possible_reference_is_left_out_by_name():
    left_out = {skipped.id: skipped.reason for skipped in samples().skipped}
    assert set(left_out) == {"a4", "b0", "c0"}
    assert left_out["c0"].startswith("speaker 'eva' has no other training clip of 1 s or more")


def test_a_reference_that_cannot_be_learnt_with_is_passed_over():
    """Its own clip is left out by name; the others go on without it in every epoch, if there is another."""
    bad = dataclasses.replace(said("a1"), text="<control>")
    made = samples(utterances=[CLIPS[0], bad, *CLIPS[2:4]], recordings=[CLIPS[0], bad, *CLIPS[2:4]])
    assert [skipped.id for skipped in made.skipped] == ["a1"]
    heard = {made.example(i, epoch).reference for i in range(3) for epoch in range(20)}
    assert heard == {"text of a0", "text of a2", "text of a3"}
    alone = samples(utterances=CLIPS[:1], recordings=[CLIPS[0], bad])
    assert [(s.id, s.reason) for s in alone.skipped] == [
        ("a0", "the text '<control>' spells a control token")
    ]


def test_a_reference_that_makes_a_sample_too_long_gives_way_to_a_shorter_one():
    stored = Stored(STORED.frames | {"a1": 80, "a2": 80})
    made = samples(max_tokens=30, stored=stored, utterances=CLIPS[:1])
    assert {made.example(0, number).reference for number in range(20)} == {"text of a3"}
    assert max(made.lengths) <= 30
    [skipped] = samples(max_tokens=15, stored=stored, utterances=CLIPS[:1]).skipped
    assert skipped.reason == f"{CLIPS[0].duration_s:.1f} s, {skipped.tokens} tokens; train.max_tokens is 15"
