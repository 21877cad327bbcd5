"""SNAC's encoder for one clip on a CPU, in less than half the time.

PyTorch's depthwise convolution is slow where it is dilated, up to seven times slower than the seven
shifted additions it stands for. Which of two orders of these additions it computes depends on the processor
and on shapes, so each convolution is asked, and one that agrees with neither is left as it is. The latents
are the module's own up to rounding, and on many processors bit for bit. The rest is spared memory:
activations change in place, in memory that one clip leaves to the next, for a page that is new costs more
than the sum it holds.

A batch would change last bits: for other shapes PyTorch computes convolutions and products in other ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from snac import SNAC
from snac.layers import Snake1d
from torch import nn

_PROBE_STEPS = 1000

Order = Callable[[nn.Conv1d, torch.Tensor, torch.Tensor], torch.Tensor]


class Encoder:
    """What `snac.encoder` computes of one clip; the weights are the module's own."""

    def __init__(self, snac: SNAC):
        self.layers = list(snac.encoder.block)
        convs = [module for module in snac.encoder.modules() if isinstance(module, nn.Conv1d)]
        self.orders: dict[nn.Module, Order] = {conv: agreeing(conv) for conv in convs}
        self.memory: dict[str, torch.Tensor] = {}

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        """A wave (1, 1, T) -> latents (1, C, T / hop)."""
        x = wave
        for layer in self.layers:
            x = self._run(layer, x)
        return x.clone()  # out of the memory that the next clip overwrites

    def _run(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """EncoderBlock(x), in x's own memory; other layers as they are."""
        if layer in self.orders:
            return self.orders[layer](layer, x, self._room("entered", 1, layer.out_channels, x.shape[-1]))
        if not hasattr(layer, "block"):
            return layer(x)
        *units, last, down = layer.block
        one, two = self._room("one", *x.shape), self._room("two", *x.shape)
        for unit in units:
            enter, depthwise, leave, pointwise = unit.block
            mixed = self.orders[depthwise](depthwise, snake(enter, x, one), two)
            x.add_(one_step(pointwise, snake(leave, mixed, one), two))
        return down(snake(last, x, one))

    def _room(self, name: str, *shape: int) -> torch.Tensor:
        """Memory of this name, overwritten by whoever asks next."""
        size = math.prod(shape)
        if name not in self.memory or len(self.memory[name]) < size:
            self.memory[name] = torch.empty(size)
        return self.memory[name][:size].view(shape)


def snake(module: Snake1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """x + sin(alpha x)^2 / alpha, into `out`; the operations of snac.layers.snake."""
    torch.mul(x, module.alpha, out=out)
    return out.sin_().square_().mul_((module.alpha + 1e-9).reciprocal()).add_(x)


def one_step(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """A convolution with a kernel of one step."""
    torch.addmm(conv.bias[:, None], conv.weight[..., 0], x[0], out=out[0])
    return out


def bias_first(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.copy_(conv.bias[:, None].expand_as(out)))


def bias_last(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.zero_()).add_(conv.bias[:, None])


def _add_taps(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Add the input (1, C or 1, T), shifted and weighted, once for each tap; zeros beyond its ends."""
    steps = x.shape[-1]
    for tap, weight in enumerate(conv.weight.unbind(-1)):
        shift = tap * conv.dilation[0] - conv.padding[0]
        if abs(shift) < steps:
            heard = x[..., max(0, shift) : steps + min(0, shift)]
            out[..., max(0, -shift) : steps - max(0, shift)].addcmul_(heard, weight)
    return out


def as_it_is(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return conv(x)


@torch.inference_mode()
def agreeing(conv: nn.Conv1d) -> Order:
    """The order of additions that gives the convolution's own bits on noise."""
    if conv.weight.shape[1] != 1 or conv.bias is None:
        return as_it_is
    noise = torch.empty(1, conv.in_channels, _PROBE_STEPS)
    noise.normal_(generator=torch.Generator().manual_seed(0))
    wanted = conv(noise)
    for order in (bias_first, bias_last):
        if torch.equal(order(conv, noise, torch.empty_like(wanted)), wanted):
            return order
    return as_it_is
