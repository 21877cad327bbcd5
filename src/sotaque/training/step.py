"""One optimiser step, and one validation, over all processes that learn together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sotaque import device
from sotaque.errors import ModelError
from sotaque.training import stopping
from sotaque.training.batching import in_order
from sotaque.training.sharding import whole

if TYPE_CHECKING:
    from sotaque.training.trainer import Trainer

REMEDY = "look at these clips, or lower lr, or set train.precision: float32"


def take_step(
    trainer: Trainer, batches: Sequence[np.ndarray], step: int, rate: float
) -> tuple[float | None, int]:
    """One optimiser step over all its batches: (mean loss in nats per label, number of labels).

    The loss is None, and nothing has changed, when it or the gradient was not finite. Nothing has changed
    either when it raises stopping.Requested.
    """
    settings, group = trainer.settings, trainer.group
    torch.manual_seed(_seed(settings.seed, step, group.rank))
    trainer.network.train()
    trainer.optimizer.zero_grad(set_to_none=True)
    packed, epoch = settings.train.packing, trainer.plan.epoch_of(step)
    total, labels = 0.0, 0
    shares = group.shares(batches, trainer.train.lengths, settings.train.batch_clips)
    for number, share in enumerate(shares, 1):
        stopping.check(group.highest)
        batch = trainer.backend.collate([trainer.train.example(i, epoch) for i in share.clips], packed)
        with group.summing(trainer.loss, last=number == len(shares)):
            with device.autocast(trainer.backend.device, trainer.dtype):
                loss, count = trainer.loss(batch)
            if group.highest(not torch.isfinite(loss)):
                return None, 0
            (loss if share.counts else loss * 0).backward()
        if share.counts:
            total, labels = total + loss.item(), labels + int(count)
    total, labels = group.summed(total, labels)
    limit = settings.train.clip_norm
    parameters = trainer.optimizer.param_groups[0]["params"]
    for gradient in (p.grad for p in parameters if p.grad is not None):
        gradient /= labels / group.size  # what comes together is the mean over the processes
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf)
    if not torch.isfinite(whole(norm)):
        return None, 0
    for parameter_group in trainer.optimizer.param_groups:
        parameter_group["lr"] = rate
    trainer.optimizer.step()
    return total / labels, int(labels)


def _seed(seed: int, step: int, rank: int) -> int:
    """Of a step's random numbers, such as dropout; each process has its own."""
    entropy = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


@torch.no_grad()
def validate(trainer: Trainer) -> float:
    """Mean loss over the validation samples, nats per label.

    Raises ModelError naming the clips of a batch whose loss is not finite.
    """
    trainer.network.eval()
    total = labels = 0.0
    for share in trainer.group.deal(in_order(trainer.val.lengths, trainer.settings.train.batch_clips)):
        stopping.check(trainer.group.highest)
        with device.autocast(trainer.backend.device, trainer.dtype):
            loss, count = trainer.loss(trainer.backend.collate([trainer.val[i] for i in share.clips]))
        if not torch.isfinite(loss):
            ids = ", ".join(trainer.val.id(i) for i in share.clips)
            raise ModelError(f"the loss of the validation clips {ids} is not finite; {REMEDY}")
        if share.counts:
            total, labels = total + loss.item(), labels + count.item()
    total, labels = trainer.group.summed(total, labels)
    return total / labels
