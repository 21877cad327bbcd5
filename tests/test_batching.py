"""The order of samples: whole, repeatable from any position, like lengths together."""

import numpy as np
import pytest

from sotaque.training.batching import Plan, epoch, in_order

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
