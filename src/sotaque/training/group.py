"""One process among those that learn together: what it reads, and what all of them agree on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Share:
    """Samples that a process reads at once; they do not count where it only keeps in step with the others."""

    clips: np.ndarray
    counts: bool = True


@dataclass(frozen=True)
class Group:
    """Process `rank` of `size`; alone, every verb gives back what it is given."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def shares(self, batches: Sequence[np.ndarray], lengths: np.ndarray, batch_clips: int) -> list[Share]:
        """What this process reads of a step: clips in turn by length, so that all have about as much."""
        if self.size == 1:
            return [Share(batch) for batch in batches]
        clips = np.concatenate(batches)
        clips = clips[np.argsort(lengths[clips], kind="stable")]
        each = [clips[rank :: self.size] for rank in range(self.size)]
        return self._in_step(
            [[one[i : i + batch_clips] for i in range(0, len(one), batch_clips)] for one in each]
        )

    def deal(self, batches: Sequence[np.ndarray]) -> list[Share]:
        """The batches that are this process's own, one in turn to each."""
        return self._in_step([batches[rank :: self.size] for rank in range(self.size)])

    def _in_step(self, parts: Sequence[Sequence[np.ndarray]]) -> list[Share]:
        """This process's parts; where the first has more, one of its parts again, which does not count."""
        mine = [Share(part) for part in parts[self.rank]]
        return mine + [Share(parts[0][0], False)] * (len(parts[0]) - len(mine))

    def highest(self, value: int) -> int:
        """The highest of the numbers that the processes have."""
        return int(self._reduced([value], dist.ReduceOp.MAX)[0]) if self.size > 1 else int(value)

    def summed(self, *values: float) -> list[float]:
        return self._reduced(values, dist.ReduceOp.SUM) if self.size > 1 else list(values)

    def _reduced(self, values: Sequence[float], operation: Any) -> list[float]:
        tensor = torch.tensor([float(value) for value in values], dtype=torch.float64)
        dist.all_reduce(tensor, operation)
        return tensor.tolist()

    def wait(self) -> None:
        """Until all processes are here."""
        self.highest(0)

    def joined(self, module: nn.Module, some_idle: bool) -> nn.Module:
        """A module whose gradients are the mean over the processes.

        some_idle: it may hold weights that its loss never reaches.
        """
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, find_unused_parameters=some_idle)

    def summing(self, module: nn.Module, last: bool) -> contextlib.AbstractContextManager:
        """Gradients come together with the last part of a step; before it, each process adds up its own."""
        joined = isinstance(module, nn.parallel.DistributedDataParallel)
        return module.no_sync() if joined and not last else contextlib.nullcontext()
