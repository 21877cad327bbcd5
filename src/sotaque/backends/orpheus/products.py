"""Linear layers as a step of generation wants them: those that read the same input in one product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from sotaque.backends.orpheus.adapted import without_fresh_adapter


class Product:
    """x (B, D) -> the outputs of linear layers, side by side, each computed as its module does."""

    def __init__(self, layers: Sequence[nn.Module], order: torch.Tensor | None = None):
        self._layers, self._order = layers, order

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _ordered(torch.cat([layer(x) for layer in self._layers], dim=-1), 1, self._order)

    def weight_alone(self) -> torch.Tensor | None:
        """The one W that is all there is to it, if so."""
        return None


class Plain(Product):
    """One product with W (O, D) and b (O,) or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)

    def weight_alone(self) -> torch.Tensor | None:
        return self._weight if self._bias is None else None


def joined(*layers: nn.Module, order: torch.Tensor | None = None) -> Product:
    """One product where the layers are plain, whose weights must then not change any more.

    order (O,): which of the outputs, side by side, stands at each place, when it is not their own.
    """
    layers = [without_fresh_adapter(layer) for layer in layers]
    if any(type(layer) is not nn.Linear for layer in layers):
        return Product(layers, order)
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else layers[0].weight
    biases = [layer.bias for layer in layers if layer.bias is not None]
    bias = _ordered(torch.cat(biases), 0, order) if biases else None
    return Plain(_ordered(weight, 0, order), bias)


def _ordered(x: torch.Tensor, dim: int, order: torch.Tensor | None) -> torch.Tensor:
    return x if order is None else x.index_select(dim, order.to(x.device))
