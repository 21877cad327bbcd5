"""Linear layers with LoRA that read the same input, as one product forward and one back.

With U = scale x A', the layer x W' + scale x A' B' is [x | U] [W | B]': an input that comes with spare
columns for U needs no second product that is added to the first. Weights as in peft (tuners/lora/layer.py); W
is frozen, A and B are rounded to the dtype of x.

N: positions; D: width of the input; O: of all outputs; R: ranks of all adapters together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn


class Adapter(NamedTuple):
    """a (rank, D), b (outputs, rank)"""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


class Adapted:
    """Layers side by side, each with an adapter or without one. `spare`: R."""

    def __init__(self, *layers: nn.Module):
        self._weights, self._adapters = zip(*map(_parts, layers), strict=True)
        self.spare = sum(len(one.a) for one in self._adapters if one)

    def __call__(self, x: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
        """x (N, D + R), whose last R columns are overwritten -> the outputs (N, O), added to `onto`."""
        worn = [one for one in self._adapters if one]
        scales = [one.scale if one else None for one in self._adapters]
        learnt = [one.a for one in worn], [one.b for one in worn]
        return _Product.apply(x, onto, self._weights, scales, *learnt[0], *learnt[1])


def _parts(layer: nn.Module) -> tuple[torch.Tensor, Adapter | None]:
    if type(layer) is nn.Linear:
        return layer.weight, None
    [name] = layer.active_adapters
    adapter = Adapter(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])
    return layer.base_layer.weight, adapter


class _Product(torch.autograd.Function):
    """scales: of each weight's adapter, or None; learnt: all A, then all B."""

    @staticmethod
    def forward(ctx, x, onto, weights, scales, *learnt):
        width, worn = weights[0].shape[1], [scale for scale in scales if scale is not None]
        a, b = learnt[: len(worn)], iter(learnt[len(worn) :])
        b = [None if scale is None else next(b) for scale in scales]
        scaled_a = None
        if worn:
            scaled_a = torch.cat([one * scale for one, scale in zip(a, worn, strict=True)]).to(x.dtype)
            torch.mm(x[:, :width], scaled_a.T, out=x[:, width:])
        ctx.save_for_backward(x, scaled_a, *b)
        ctx.weights, ctx.added, ctx.scales, ctx.worn = weights, onto is not None, scales, worn
        joined = _joined(weights, b, x.shape[1])
        return x @ joined.T if onto is None else torch.addmm(onto, x, joined.T)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, scaled_a, *b = ctx.saved_tensors
        width = ctx.weights[0].shape[1]
        joined, by_learnt, wanted = _joined(ctx.weights, b, x.shape[1]), (), ctx.needs_input_grad[0]
        by_x = grad @ (joined if wanted else joined[:, width:])
        if ctx.worn:
            by_u, u = by_x[:, by_x.shape[1] - len(scaled_a) :], x[:, width:]
            ranks, outputs = [one.shape[1] for one in b if one is not None], list(map(len, ctx.weights))
            by_a = (by_u.T @ x[:, :width]).split(ranks)
            by_a = [one.mul_(scale) for one, scale in zip(by_a, ctx.worn, strict=True)]
            slopes = zip(grad.split(outputs, dim=1), ctx.scales, strict=True)
            slopes = [slope for slope, scale in slopes if scale is not None]
            by_b = [slope.T @ one for slope, one in zip(slopes, u.split(ranks, dim=1), strict=True)]
            by_learnt = *by_a, *by_b
            if wanted:
                by_x[:, :width].addmm_(by_u, scaled_a)
        return by_x if wanted else None, grad if ctx.added else None, None, None, *by_learnt


def _joined(weights: Sequence[torch.Tensor], b: Sequence[torch.Tensor | None], columns: int) -> torch.Tensor:
    """[W | B] (O, columns) of all layers, one above the other, where each B has columns of its own."""
    width = weights[0].shape[1]
    if len(weights) == 1 and columns == width:
        return weights[0]
    joined = weights[0].new_empty(sum(map(len, weights)), columns)
    joined[:, width:] = 0
    row, column = 0, width
    for weight, one in zip(weights, b, strict=True):
        block = joined[row : row + len(weight)]
        block[:, :width] = weight
        if one is not None:
            block[:, column : column + one.shape[1]] = one
            column += one.shape[1]
        row += len(weight)
    return joined
