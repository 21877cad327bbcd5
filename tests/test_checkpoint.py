"""What a checkpoint keeps, it gives back bit by bit."""

import copy

import pytest
import torch

import tiny
from sotaque import backends
from sotaque.settings import Lora
from sotaque.training import lora
from sotaque.training.checkpoint import Progress, Scratch


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    base = tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL)
    return backends.load("orpheus", base, torch.device("cpu"))


def fresh(backend, seed=0):
    network = lora.attach(backend, backend.load_network(), ("q_proj", "up_proj"), Lora(rank=2, alpha=4), seed)
    return network, torch.optim.AdamW(lora.trainable(network).values(), lr=0.01)


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
    scratch = Scratch(tmp_path / "key")
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
    assert Scratch(tmp_path / "none").newest() is None


def test_an_older_adapter_that_rotted_is_no_ground_to_go_on_from(backend, tmp_path):
    network, optimizer = fresh(backend)
    scratch = Scratch(tmp_path)
    for step in (1, 2, 3):
        scratch.save(network, optimizer, Progress(step, saved=list(range(1, step + 1))))
    path = scratch.adapter(2) / lora.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert scratch.newest() is None


def test_a_folder_that_was_being_written_is_not_a_checkpoint(backend, tmp_path):
    network, optimizer = fresh(backend)
    scratch = Scratch(tmp_path)
    scratch.save(network, optimizer, Progress(1, saved=[1]))
    (tmp_path / ".step-000002.x.part").mkdir()
    (tmp_path / "step-000002").mkdir()
    assert scratch.newest().step == 1
