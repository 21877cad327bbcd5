"""Cross-entropy of a linear output layer, without ever holding all logits.

With logits z = W h and label y, the loss is logsumexp(z) - z[y], and its gradient with respect to z is
softmax(z) - onehot(y). Both need z once: so each chunk of positions gives its loss and its gradients in the
forward pass, and only the gradient of the hidden states (and of W, if it learns) is kept. For a vocabulary
of 156,940 the logits of 2,048 positions would take 1.3 GB, and as much again for their gradient.
Source: Hsu et al., Liger Kernel, arXiv:2410.10989, section 3.2 (FusedLinearCrossEntropy).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sotaque.backends.protocol import IGNORED

LOGITS_AT_ONCE = 2**27
ROWS_ON_CPU = 256  # whose logits a processor's cache holds, if the vocabulary is small
FULL_ROWS = 64  # chunks are filled up to a multiple: for a new shape a CPU compiles a new product


def summed(
    head: nn.Module, hidden: torch.Tensor, labels: torch.Tensor, logits_at_once: int | None = None
) -> torch.Tensor:
    """Sum of the cross-entropies in nats, float32, of hidden (N, D) under labels (N,).

    logits_at_once: the most logits (positions x vocabulary) that are held; LOGITS_AT_ONCE if not said.
    A head that is no plain linear layer, as one with an adapter, computes its chunks anew for the gradient.
    """
    counted = labels != IGNORED
    if not bool(counted.all()):
        hidden, labels = hidden[counted], labels[counted]
    rows = _rows(_vocabulary(head), hidden.device, logits_at_once)
    if type(head) is nn.Linear and head.bias is None:
        dtype = hidden.dtype
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
        return _Fused.apply(hidden, head.weight, labels, rows, dtype, torch.is_grad_enabled())
    if not len(labels):
        return hidden.sum() * 0.0
    parts = [
        checkpoint(_plain, head, states, wanted, use_reentrant=False)
        for states, wanted in zip(hidden.split(rows), labels.split(rows), strict=True)
    ]
    return torch.stack(parts).sum()


def held_bytes(positions: int, vocabulary: int, dtype: torch.dtype, place: torch.device) -> int:
    """The most that is held at once: logits in `dtype`, in float32 and their logarithms."""
    positions = -(-positions // FULL_ROWS) * FULL_ROWS if place.type == "cpu" else positions
    return min(positions, _rows(vocabulary, place)) * vocabulary * (dtype.itemsize + 4 + 4)


def _rows(vocabulary: int, place: torch.device, logits_at_once: int | None = None) -> int:
    """Positions of a chunk."""
    rows = max(1, (logits_at_once or LOGITS_AT_ONCE) // vocabulary)
    return min(rows, ROWS_ON_CPU) if place.type == "cpu" else rows


def _vocabulary(head: nn.Module) -> int:
    return max(p.shape[0] for p in head.parameters() if p.ndim == 2)


def _plain(head: nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(head(hidden).float(), labels, reduction="sum")


class _Fused(torch.autograd.Function):
    """Products in `dtype`; softmax, sums and the gradient of the weight in float32."""

    @staticmethod
    def forward(ctx, hidden, weight, labels, rows, dtype, learning):
        states, weights = hidden.to(dtype), weight.to(dtype)
        slopes = torch.empty_like(hidden) if learning and ctx.needs_input_grad[0] else None
        weight_slopes = None
        if learning and ctx.needs_input_grad[1]:
            weight_slopes = torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(labels), rows):
                chunk = slice(start, min(start + rows, len(labels)))
                some = _filled(states[chunk], rows)
                loss, slope = _chunk(some, weights, labels[chunk])
                total += loss
                slope = slope.to(dtype)
                if slopes is not None:
                    slopes[chunk] = (slope @ weights)[: chunk.stop - start]
                if weight_slopes is not None:
                    weight_slopes += slope.T @ some
        ctx.save_for_backward(slopes, weight_slopes)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        slopes, weight_slopes = ctx.saved_tensors
        return (
            None if slopes is None else slopes * grad.to(slopes.dtype),
            None if weight_slopes is None else weight_slopes * grad,
            *[None] * 4,
        )


def _filled(states: torch.Tensor, most: int) -> torch.Tensor:
    """On a CPU with rows of zeros, up to a multiple of FULL_ROWS or to the most."""
    if states.device.type != "cpu":
        return states
    return F.pad(states, (0, 0, 0, min(most, -(-len(states) // FULL_ROWS) * FULL_ROWS) - len(states)))


def _chunk(
    states: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a chunk (n, D) with as many labels or fewer, and its gradient with respect to the logits
    (n, V), in float32, which means nothing where there is no label."""
    logged = F.log_softmax(states @ weights.T, dim=1, dtype=torch.float32)
    loss = F.nll_loss(logged[: len(labels)], labels, reduction="sum")
    slope = logged.exp_()
    slope[: len(labels)].scatter_add_(1, labels[:, None], slope.new_full((len(labels), 1), -1.0))
    return loss, slope
