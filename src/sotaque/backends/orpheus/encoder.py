"""SNAC's encoder on a CPU: the same sums in the same order, so the same bits, in less than half the time.

PyTorch's depthwise convolution is slow where it is dilated, up to seven times slower than the seven
shifted additions it stands for. Which of two orders of these additions it computes depends on its
kernels, so each convolution is asked, and one that agrees with neither is left as it is. The rest is
spared memory: activations change in place, in memory that one batch leaves to the next, for a page that
is new costs more than the sum it holds; and the first block, whose activations are the largest, takes a
few clips at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from snac import SNAC
from snac.layers import Snake1d
from torch import nn

MOST_CLIPS = 15  # of a batch: beyond, PyTorch's convolutions of one step give other bits
FIRST_BLOCK_SAMPLES = 2**16  # 2 MB of activations in the micro codec, 12 MB in Orpheus'
_PROBE = (2, 1000)  # clips, steps

Order = Callable[[nn.Conv1d, torch.Tensor, torch.Tensor], torch.Tensor]


class Encoder:
    """What `snac.encoder` computes of up to MOST_CLIPS on one thread; the weights are the module's own."""

    def __init__(self, snac: SNAC):
        self.first, self.block, *self.rest = snac.encoder.block
        convs = [module for module in snac.encoder.modules() if isinstance(module, nn.Conv1d)]
        self.orders: dict[nn.Module, Order] = {conv: agreeing(conv) for conv in convs}
        self.memory: dict[str, torch.Tensor] = {}

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Waves (B, 1, T) -> latents (B, C, T / hop)."""
        size = max(1, FIRST_BLOCK_SAMPLES // batch.shape[-1])
        latents = torch.cat([self._first_block(part) for part in batch.split(size)])
        for layer in self.rest:
            latents = self._run(layer, latents)
        return latents

    def _first_block(self, part: torch.Tensor) -> torch.Tensor:
        room = self._room("first", len(part), self.first.out_channels, part.shape[-1])
        return self._run(self.block, self.orders[self.first](self.first, part, room))

    def _run(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """EncoderBlock(x), in x's own memory; other layers as they are."""
        if not hasattr(layer, "block"):
            return self.orders[layer](layer, x, torch.empty(x.shape)) if layer in self.orders else layer(x)
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
    for clip, made in zip(x, out, strict=True):
        torch.addmm(conv.bias[:, None], conv.weight[..., 0], clip, out=made)
    return out


def bias_first(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.copy_(conv.bias[:, None].expand_as(out)))


def bias_last(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.zero_()).add_(conv.bias[:, None])


def _add_taps(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Add the input (B, C or 1, T), shifted and weighted, once for each tap; zeros beyond its ends."""
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
    noise = torch.empty(_PROBE[0], conv.in_channels, _PROBE[1])
    noise.normal_(generator=torch.Generator().manual_seed(0))
    wanted = conv(noise)
    for order in (bias_first, bias_last):
        if torch.equal(order(conv, noise, torch.empty_like(wanted)), wanted):
            return order
    return as_it_is
