"""How much memory a training needs, said before its first step.

Weights, gradients and AdamW's two moments are counted. What a step keeps for its gradients is measured: the
shortest clip is read forward, once and twice, and one of middling length, and every tensor that autograd
keeps is added up. That tells what a position costs, and how much more in a longer clip, where attention keeps
what each position heard. The largest batch that the run may meet is so many positions. The backward pass
works on one layer at a time, whose tensors (made anew under gradient checkpointing) come on top; before it,
one chunk of logits does.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sotaque import device
from sotaque.backends import cross_entropy
from sotaque.backends.protocol import Backend, Example
from sotaque.errors import ModelError
from sotaque.settings import Train
from sotaque.training.batching import Samples

log = logging.getLogger("sotaque")

GB = 1e9
MOMENTS = 2
UNCERTAINTY = 1.25  # of the estimate; tests hold it against measured peaks


@dataclass(frozen=True)
class Need:
    """Bytes. learning: gradients and moments of what learns; kept: by autograd, for `positions` positions.

    working, logits: what comes on top in the backward pass, and before it; never both at once.
    """

    weights: int
    learning: int
    kept: int
    working: int
    logits: int
    positions: int

    @property
    def total(self) -> int:
        return self.weights + self.learning + self.kept + max(self.working, self.logits)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients and optimiser": self.learning,
            f"a batch of {self.positions:,} positions": self.kept,
            "work on one layer or the logits": max(self.working, self.logits),
        }
        listed = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts.items())
        return f"{self.total / GB:.2f} GB ({listed})"


def check(
    backend: Backend, network: torch.nn.Module, dtype: torch.dtype, how: Train, samples: Samples
) -> None:
    """Log the need and what there is; raises ModelError where a card is too small by far."""
    measure = Measure(backend, network, dtype, samples, how.gradient_checkpointing)
    need, free = measure.need(how.batch_clips, how.gradient_checkpointing), free_bytes(backend.device)
    place = "the card" if on_card(backend.device) else "this machine"
    said = f"needs about {need}; {place} has {free / GB:.1f} GB free"
    if need.total <= free:
        log.info("train: %s; Python and its libraries come on top", said)
        return
    ways = "; ".join(f"{words}: about {less.total / GB:.1f} GB" for words, less in _ways_out(measure, how))
    if on_card(backend.device) and need.total > UNCERTAINTY * free:
        raise ModelError(f"this training {said}. In params.yaml, {ways}")
    log.warning("train: %s, which may be too little. In params.yaml, %s", said, ways)


def _ways_out(measure: Measure, how: Train) -> Iterator[tuple[str, Need]]:
    """What would need less."""
    alone = f"train.batch_clips: 1 with train.accumulate: {how.batch_clips * how.accumulate}"
    if how.batch_clips > 1:
        yield alone, measure.need(1, how.gradient_checkpointing)
    if not how.gradient_checkpointing:
        yield "train.gradient_checkpointing: true", measure.need(how.batch_clips, True)
    yield f"both, and train.max_tokens below {measure.longest}", measure.need(1, True)


class Measure:
    """What one network keeps, with and without gradient checkpointing; `checkpointing` is how it is now."""

    def __init__(
        self,
        backend: Backend,
        network: torch.nn.Module,
        dtype: torch.dtype,
        samples: Samples,
        checkpointing: bool,
    ):
        self._backend, self._network, self._dtype = backend, network, dtype
        self._lengths, self._on, self._wanted = np.sort(samples.lengths), checkpointing, checkpointing
        order = np.argsort(samples.lengths, kind="stable")
        self._short, self._middling = samples[int(order[0])], samples[int(order[len(order) // 2])]
        self.longest = int(self._lengths[-1])

    def need(self, batch_clips: int, checkpointing: bool) -> Need:
        """For the largest batch there can be: the longest clips together."""
        positions = self.longest * min(batch_clips, len(self._lengths))
        parameters = list(self._network.parameters())
        layers, vocabulary = self._backend.layers_and_vocabulary(self._network)
        learning = [p for p in parameters if p.requires_grad]
        fixed, each = self._kept(checkpointing)
        return Need(
            weights=sum(p.numel() * p.element_size() for p in parameters),
            learning=sum(p.numel() * p.element_size() * (1 + MOMENTS) for p in learning),
            kept=int(fixed + each * positions),
            working=int(self._kept(False)[1] * positions / layers),
            logits=cross_entropy.held_bytes(positions, vocabulary, self._dtype, self._backend.device),
            positions=positions,
        )

    @functools.cache  # noqa: B019, for it lives as long as one call of check
    def _kept(self, checkpointing: bool) -> tuple[float, float]:
        """(bytes kept once, bytes kept for each position of the longest clips).

        A position of a clip of n costs c + d n: c + d n for two lengths are known, and so c and d.
        """
        # Where a CPU fills a batch up to a round number of positions, four clips need little or nothing.
        count = 1 if on_card(self._backend.device) else 4
        self._checkpoint(checkpointing)
        clips = [self._short] * count, [self._short] * 2 * count, [self._middling] * count
        one, two, middling = map(self._forward, clips)
        self._checkpoint(self._wanted)
        fixed, short, long = max(0, 2 * one - two), len(self._short), len(self._middling)
        each = (two - one) / count / short
        if long == short:
            return fixed, each
        more = max(0.0, ((middling - fixed) / count / long - each) / (long - short))
        return fixed, each + more * (self.longest - short)

    def _checkpoint(self, wanted: bool) -> None:
        if wanted == self._on:
            return
        self._on = wanted
        self._backend.checkpoint_gradients(self._network, wanted)

    def _forward(self, examples: Sequence[Example]) -> int:
        """Bytes that autograd keeps after a forward pass, the parameters apart."""
        parameters = {p.untyped_storage().data_ptr() for p in self._network.parameters()}
        found: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        self._network.train()
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            device.autocast(self._backend.device, self._dtype),
        ):
            loss, _ = self._backend.loss(self._network, self._backend.collate(examples))
        del loss
        return sum(found.values())


def on_card(place: torch.device) -> bool:
    return place.type == "cuda"


def free_bytes(place: torch.device) -> int:
    """Memory that may still be taken: on the card, or on this machine (all, if nobody says what is free)."""
    if on_card(place):
        return torch.cuda.mem_get_info(place)[0]
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text(encoding="ascii").splitlines() if meminfo.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
