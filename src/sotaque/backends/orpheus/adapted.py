"""Linear layers with LoRA that read the same input: the base's own product, then the adapters' added to it.

The base's product has the same operands, shapes and memory layout with adapters and without, so it has the
same bits. A fresh adapter has B = 0, so exactly zero is added. Both hold on every processor. One product
[x | U] [W | B]' is no faster, and it sums in another order, which changes the last bits of the base's output.
Weights as in peft (tuners/lora/layer.py); W is frozen, A and B are rounded to the dtype of x.

N: positions; D: width of the input; O: of all outputs; R: ranks of all adapters together; U = x (scale A)'.
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
    """Layers side by side, each with an adapter or without one."""

    def __init__(self, *layers: nn.Module):
        self._weights, self._adapters = zip(*map(_parts, layers), strict=True)

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """x (N, D) -> the outputs (N, O), added to `residual`."""
        adapters = [adapter for adapter in self._adapters if adapter]
        scales = [adapter.scale if adapter else None for adapter in self._adapters]
        parameters = [adapter.a for adapter in adapters] + [adapter.b for adapter in adapters]
        return _Product.apply(x, residual, self._weights, scales, *parameters)


def adapter_of(layer: nn.Module) -> Adapter | None:
    """A layer's one active adapter, where that is scale B A and nothing more; None for any other layer."""
    if not hasattr(layer, "lora_A"):  # peft is imported where it is in use already
        return None
    from peft.tuners.lora import Linear as LoraLinear

    if type(layer) is not LoraLinear or layer.merged or layer.disable_adapters or layer.lora_variant:
        return None
    [name, *others] = layer.active_adapters
    drops_inputs = layer.training and type(layer.lora_dropout[name]) is not nn.Identity
    if others or drops_inputs or layer.lora_bias[name]:
        return None
    return Adapter(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])


def without_fresh_adapter(layer: nn.Module) -> nn.Module:
    """The base's own layer where an adapter has B = 0 and so adds nothing; else the layer itself.

    Generation computes plain layers in other ways than adapted ones, with other last bits.
    """
    adapter = adapter_of(layer)
    return layer if adapter is None or adapter.b.any() else layer.base_layer


def _parts(layer: nn.Module) -> tuple[torch.Tensor, Adapter | None]:
    if type(layer) is nn.Linear:
        return layer.weight, None
    return layer.base_layer.weight, adapter_of(layer)


class _Product(torch.autograd.Function):
    """scales: of each weight's adapter, or None; parameters: all A, then all B."""

    @staticmethod
    def forward(ctx, x, residual, weights, scales, *parameters):
        weight = _stack(weights)
        y = x @ weight.T if residual is None else torch.addmm(residual, x, weight.T)
        ctx.weights, ctx.scales = weights, scales
        ctx.has_residual = residual is not None
        if not parameters:
            ctx.save_for_backward(x)
            return y
        count = len(parameters) // 2
        a, b = parameters[:count], [factor.to(x.dtype) for factor in parameters[count:]]
        used = [scale for scale in scales if scale is not None]
        scaled_a = torch.cat([factor * scale for factor, scale in zip(a, used, strict=True)]).to(x.dtype)
        u = x @ scaled_a.T
        y.addmm_(u, _block_diagonal(weights, scales, b).T)
        ctx.save_for_backward(x, u, scaled_a, *b)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, *saved = ctx.saved_tensors
        grad_x = grad @ _stack(ctx.weights) if ctx.needs_input_grad[0] else None
        grad_parameters = ()
        if saved:
            u, scaled_a, *b = saved
            grad_u = grad @ _block_diagonal(ctx.weights, ctx.scales, b)
            if grad_x is not None:
                grad_x.addmm_(grad_u, scaled_a)
            ranks = [factor.shape[1] for factor in b]
            used = [scale for scale in ctx.scales if scale is not None]
            grad_a = (grad_u.T @ x).split(ranks)
            grad_a = [grad_factor.mul_(scale) for grad_factor, scale in zip(grad_a, used, strict=True)]
            outputs = zip(grad.split([len(weight) for weight in ctx.weights], dim=1), ctx.scales, strict=True)
            adapted = [output for output, scale in outputs if scale is not None]
            grad_b = [output.T @ part for output, part in zip(adapted, u.split(ranks, dim=1), strict=True)]
            grad_parameters = *grad_a, *grad_b
        return grad_x, grad if ctx.has_residual else None, None, None, *grad_parameters


def _stack(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """W (O, D) of all layers, one above the other."""
    return weights[0] if len(weights) == 1 else torch.cat(weights)


def _block_diagonal(
    weights: Sequence[torch.Tensor], scales: Sequence[float | None], b: Sequence[torch.Tensor]
) -> torch.Tensor:
    """B (O, R) of all layers, one above the other, block-diagonal."""
    if len(weights) == 1:
        return b[0]
    blocks = b[0].new_zeros(sum(map(len, weights)), sum(factor.shape[1] for factor in b))
    row, column, remaining = 0, 0, iter(b)
    for weight, scale in zip(weights, scales, strict=True):
        if scale is not None:
            block = next(remaining)
            blocks[row : row + len(weight), column : column + block.shape[1]] = block
            column += block.shape[1]
        row += len(weight)
    return blocks
