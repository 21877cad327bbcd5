"""What a checkpoint keeps, it gives back bit by bit."""

import copy

import pytest
import torch

import tiny
from sotaque import backends
from sotaque.settings import Lora
from sotaque.training import lora, method
from sotaque.training.checkpoint import OPTIMIZER, STATE, Progress, Scratch, differences


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    base = tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL)
    return backends.load("orpheus", base, torch.device("cpu"))


def fresh(backend, seed=0):
    network = lora.attach(backend, backend.load_network(), ("q_proj", "up_proj"), Lora(rank=2, alpha=4), seed)
    return network, torch.optim.AdamW(lora.trainable(network).values(), lr=0.01)


def scratch_of(folder, origin):
    return Scratch(folder, origin, method.Adapter(None, (), None))


def learn(network, optimizer, steps):
    """Steps on a made-up loss that moves every parameter."""
    for _ in range(steps):
        loss = sum((p - 1).square().sum() for p in lora.trainable(network).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def state_of(network, optimizer):
    moments = copy.deepcopy(optimizer.state_dict()["state"])
    return lora.weights(network), moments


def equal(a, b):
    (weights, moments), (others, other_moments) = a, b
    same = all(torch.equal(weights[key], others[key]) for key in weights | others)
    return same and all(
        torch.equal(moments[i][key], other_moments[i][key])
        for i in moments | other_moments
        for key in ("step", "exp_avg", "exp_avg_sq")
    )


def test_what_comes_back_is_what_was_saved(backend, tmp_path):
    network, optimizer = fresh(backend)
    learn(network, optimizer, 3)
    scratch = scratch_of(tmp_path, {"lr": 0.1})
    progress = Progress(3, tokens=77, history=[{"step": 3}], saved=[3], failed={"2": ["a", "b"]})
    scratch.save(network, optimizer, progress)
    other, other_optimizer = fresh(backend, seed=1)
    assert not torch.equal(*(next(iter(lora.weights(n).values())) for n in (network, other)))
    assert scratch.newest() == progress
    scratch.restore(3, other, other_optimizer)
    assert equal(state_of(network, optimizer), state_of(other, other_optimizer))
    learn(network, optimizer, 2)
    learn(other, other_optimizer, 2)
    assert equal(state_of(network, optimizer), state_of(other, other_optimizer))


def test_nothing_there_is_a_start_from_nothing(tmp_path):
    assert scratch_of(tmp_path, {}).newest() is None


def test_an_older_adapter_that_rotted_is_no_ground_to_go_on_from(backend, tmp_path):
    network, optimizer = fresh(backend)
    scratch = scratch_of(tmp_path, {})
    for step in (1, 2, 3):
        scratch.save(network, optimizer, Progress(step, saved=list(range(1, step + 1))))
    path = scratch.result(2) / lora.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert scratch.newest() is None


def test_a_folder_that_was_being_written_is_not_a_checkpoint(backend, tmp_path):
    network, optimizer = fresh(backend)
    scratch = scratch_of(tmp_path, {})
    scratch.save(network, optimizer, Progress(1, saved=[1]))
    (scratch.folder / ".step-000002.x.part").mkdir()
    (scratch.folder / "step-000002").mkdir()
    assert scratch.newest().step == 1


def test_a_stop_between_two_checkpoints_is_kept_until_it_is_passed(backend, tmp_path):
    """Steps 2, 4 and 6 are results, at step 5 the run was asked to stop."""
    network, optimizer = fresh(backend)
    scratch = scratch_of(tmp_path, {})

    def resumable():
        return [s for s in lora.steps(scratch.folder) if (scratch.result(s).parent / OPTIMIZER).exists()]

    for step, saved in ((2, [2]), (4, [2, 4]), (5, [2, 4])):
        scratch.save(network, optimizer, Progress(step, saved=saved))
    assert (lora.steps(scratch.folder), resumable(), scratch.newest().step) == ([2, 4, 5], [4, 5], 5)
    scratch.save(network, optimizer, Progress(6, saved=[2, 4, 6]))
    assert (lora.steps(scratch.folder), resumable(), scratch.newest().step) == ([2, 4, 6], [4, 6], 6)


def test_any_bit_of_the_state_is_guarded(backend, tmp_path):
    network, optimizer = fresh(backend)
    scratch = scratch_of(tmp_path, {})
    scratch.save(network, optimizer, Progress(1, tokens=4242, saved=[1]))
    path = scratch.folder / "step-000001" / STATE
    whole = path.read_text()
    for damaged in (whole.replace("4242", "4243"), "[]", "0", '"x"', "{}", whole[:-9], ""):
        path.write_text(damaged)
        assert scratch.newest() is None
    path.write_text(whole)
    assert scratch.newest().tokens == 4242


def test_differences_name_the_value_and_not_the_checksum():
    sums = [letter * 64 for letter in "ab"]
    before = {"params.yaml": {"lr": 0.1, "lora": {"rank": 8}}, "files": {"x": sums[0], "old": sums[0]}}
    now = {"params.yaml": {"lr": 0.2, "lora": {"rank": 8}}, "files": {"x": sums[1], "new": sums[0]}}
    assert differences(before, now) == [
        "files new is new",
        "files old is gone",
        "files x has changed",
        "params.yaml lr was 0.1, is 0.2",
    ]


def test_others_are_those_of_the_same_model(backend, tmp_path):
    network, optimizer = fresh(backend)
    for origin in ({"a.yaml": {"x": 1}}, {"b.yaml": {"x": 1}}):
        scratch_of(tmp_path, origin).save(network, optimizer, Progress(3, saved=[3]))
    found = list(Scratch(tmp_path, {"a.yaml": {"x": 2}}).others())
    assert found == [(Scratch(tmp_path, {"a.yaml": {"x": 1}}).folder, 3, ["a.yaml x was 1, is 2"])]
