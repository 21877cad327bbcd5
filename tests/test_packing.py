"""Several utterances in one sequence: each has the loss and the gradient that it has alone."""

import dataclasses

import numpy as np
import pytest
import torch

import tiny
from sotaque.backends.orpheus import Backend
from sotaque.backends.protocol import IGNORED, Prompt
from sotaque.settings import Lora
from sotaque.training import lora

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    return Backend(tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL), torch.device("cpu"))


def examples(backend, mask_prompt=True):
    rng = np.random.default_rng(0)
    return [
        backend.example(Prompt(text, "ana"), rng.integers(0, 32, (frames, 7)), mask_prompt)
        for text, frames in (("olá", 3), ("uma frase bem mais comprida", 9), ("um", 1), ("dois", 5))
    ]


def adapted(backend):
    torch.manual_seed(1)
    network = lora.attach(backend, backend.load_network(), TARGETS, Lora(rank=4, alpha=8, dropout=0.0), 0)
    for parameter in lora.trainable(network).values():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network


def learnt(backend, network, batches):
    """(sum of the losses, labels, gradients) over batches."""
    network.zero_grad()
    found = [backend.loss(network, batch) for batch in batches]
    total = torch.stack([loss for loss, _ in found]).sum()
    total.backward()
    gradients = [p.grad.clone() for p in lora.trainable(network).values()]
    return total.item(), sum(int(count) for _, count in found), gradients


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_packed_is_the_sum_of_the_singles(backend, mask_prompt):
    network, items = adapted(backend), examples(backend, mask_prompt)
    total, count, gradients = learnt(backend, network, [backend.collate(items, packed=True)])
    expected, labels, right = learnt(backend, network, [backend.collate([item]) for item in items])
    assert count == labels
    assert total == pytest.approx(expected, rel=1e-6)
    for mine, theirs in zip(gradients, right, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in right) > 0.1


def test_packed_with_gradient_checkpointing_is_the_same(backend):
    network, items = adapted(backend), examples(backend)
    batch = backend.collate(items, packed=True)
    expected, _, right = learnt(backend, network, [batch])
    network.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    total, _, gradients = learnt(backend, network.train(), [batch])
    assert total == pytest.approx(expected, rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, right, strict=True))


def test_an_utterance_does_not_hear_the_one_before(backend):
    """Another first utterance of the same length changes no logit of the others."""
    network, items = backend.load_network(dtype=torch.float64), examples(backend)
    other = dataclasses.replace(items[0], input_ids=tuple(reversed(items[0].input_ids)))
    mine = int(sum(label != IGNORED for label in items[0].labels))
    with torch.inference_mode():
        first, second = (
            backend.logits(network, backend.collate([one, *items[1:]], packed=True))
            for one in (items[0], other)
        )
    assert torch.equal(first[mine:], second[mine:])
    assert not torch.allclose(first[:mine], second[:mine])


def test_packing_leaves_no_padding_but_the_last(backend):
    items = examples(backend)
    batch = backend.collate(items, packed=True)
    tokens = sum(len(item.input_ids) for item in items)
    assert batch["input_ids"].shape == (1, -(-tokens // 8) * 8)
    assert backend.collate(items)["input_ids"].numel() > 1.5 * tokens
    assert int(batch["attention_mask"].sum()) == tokens
