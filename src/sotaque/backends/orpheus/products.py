"""Linear layers as a step of generation wants them: those that read the same input in one product.

On a CPU a product of few rows mostly waits for its weights. oneDNN, which torch brings, lays them out once in
the blocks that it reads; with the layout that nn.Linear stores a step of 16 rows takes nearly twice as long.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

ROWS = 16  # for which oneDNN chooses the blocks; they serve 1 to 32 rows well


class Product:
    """x (B, D) -> the outputs of linear layers, side by side, each computed as its module does."""

    def __init__(self, layers: Sequence[nn.Module], order: torch.Tensor | None = None):
        self._layers, self._order = layers, order

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _ordered(torch.cat([layer(x) for layer in self._layers], dim=-1), 1, self._order)

    def added(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """`before` and the outputs."""
        return before + self(x)


class Plain(Product):
    """One product with W (O, D) and b (O,) or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)


class Packed(Product):
    """The same on a CPU, with weights that lie as the processor reads them."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self._weight, self._bias = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS), bias
        self._linear = torch.ops.mkldnn._linear_pointwise.default
        self._linear_and = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._linear(x, self._weight, self._bias, "none", [], "")

    def added(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return self._linear_and(x, before, self._weight, self._bias, "add")


def joined(*layers: nn.Module, order: torch.Tensor | None = None) -> Product:
    """One product where the layers are plain, whose weights must then not change any more.

    order (O,): which of the outputs, side by side, stands at each place, when it is not their own.
    """
    if any(type(layer) is not nn.Linear for layer in layers):
        return Product(layers, order)
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else layers[0].weight
    biases = [layer.bias for layer in layers if layer.bias is not None]
    bias = _ordered(torch.cat(biases), 0, order) if biases else None
    return (Packed if packs(weight) else Plain)(_ordered(weight, 0, order), bias)


def packs(weight: torch.Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()
    )


def _ordered(x: torch.Tensor, dim: int, order: torch.Tensor | None) -> torch.Tensor:
    return x if order is None else x.index_select(dim, order.to(x.device))
