"""The memory estimate against a measured peak, what it advises, and that it changes nothing."""

import dataclasses
import logging
import os

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import tiny
from sotaque import device
from sotaque.backends.orpheus import Backend
from sotaque.backends.protocol import Prompt
from sotaque.errors import ModelError
from sotaque.settings import Lora, Train
from sotaque.training import lora, memory

FACTOR = 1.3
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    base = tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL, hidden=64, layers=4)
    return Backend(base, torch.device("cpu"))


class Clips:
    """Samples of these many frames each."""

    def __init__(self, backend, frames):
        rng = np.random.default_rng(0)
        self.items = [
            backend.example(Prompt("olá", "ana"), rng.integers(0, 32, (n, 7)), True) for n in frames
        ]
        self.lengths = np.array([len(item.input_ids) for item in self.items])

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def adapted(backend, checkpointing=False):
    network = lora.attach(backend, backend.load_network(), TARGETS, Lora(rank=8, alpha=8, dropout=0.0), 0)
    if checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return network


def peak(backend, network, items, dtype):
    """Bytes above what lies there already, by torch's own allocation records of one forward and backward."""
    with (
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record,
        device.autocast(backend.device, dtype),
    ):
        loss, _ = backend.loss(network.train(), backend.collate(items))
        loss.backward()
    level = highest = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            level += event.nbytes()
            highest = max(highest, level)
    return highest


@pytest.mark.parametrize("frames", [[2, 60, 60, 60], [7, 7, 30, 30, 60, 60, 60]], ids=["alike", "unlike"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_is_near_the_measured_peak(backend, dtype, checkpointing, frames):
    """Gradients are part of the peak, weights and moments lie beside it."""
    network, clips = adapted(backend, checkpointing), Clips(backend, frames)
    need = memory.Measure(backend, network, dtype, clips, checkpointing).need(3, checkpointing)
    measured = peak(backend, network, clips.items[-3:], dtype)
    predicted = need.total - need.weights - need.learning * memory.MOMENTS // (1 + memory.MOMENTS)
    assert measured / FACTOR < predicted < measured * FACTOR


def test_gradient_checkpointing_and_smaller_batches_need_less(backend):
    clips = Clips(backend, [2, 60, 60])
    measure = memory.Measure(backend, adapted(backend), torch.float32, clips, False)
    plain, checkpointed, alone = measure.need(2, False), measure.need(2, True), measure.need(1, False)
    assert checkpointed.kept < plain.kept / 3
    assert alone.positions == plain.positions / 2
    assert plain.weights == sum(p.numel() * 4 for p in adapted(backend).parameters())


def test_measuring_leaves_the_network_as_it_was(backend):
    for checkpointing in (False, True):
        network = adapted(backend, checkpointing)
        memory.Measure(backend, network, torch.float32, Clips(backend, [2, 9]), checkpointing).need(2, True)
        assert network.is_activation_checkpointing == checkpointing
        assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(("free", "said"), [(10**12, "INFO"), (1000, "WARNING")])
def test_the_need_is_logged_with_the_way_out(backend, monkeypatch, caplog, free, said):
    monkeypatch.setattr(memory, "free_bytes", lambda place: free)
    with caplog.at_level(logging.INFO, logger="sotaque"):
        memory.check(backend, adapted(backend), torch.float32, Train(), Clips(backend, [2, 9, 9]))
    [record] = [r for r in caplog.records if "needs about" in r.message]
    assert record.levelname == said
    assert ("train.gradient_checkpointing: true" in record.message) == (said == "WARNING")
    assert ("train.accumulate: 4" in record.message) == (said == "WARNING")


def test_a_card_that_is_too_small_stops_the_run(backend, monkeypatch):
    """A card is told apart by its type alone; the network stays where it is."""
    network, clips = adapted(backend), Clips(backend, [2, 9])
    measured = memory.Measure(backend, network, torch.float32, clips, False).need(4, False)
    monkeypatch.setattr(memory, "free_bytes", lambda place: int(measured.total / 1.3))
    monkeypatch.setattr(memory, "on_card", lambda place: True)
    with pytest.raises(ModelError, match=r"needs about .* GB .*the card has .*gradient_checkpointing: true"):
        memory.check(backend, network, torch.float32, dataclasses.replace(Train(), batch_clips=4), clips)


def test_free_memory_of_this_machine_is_between_nothing_and_all():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.free_bytes(torch.device("cpu")) <= total
