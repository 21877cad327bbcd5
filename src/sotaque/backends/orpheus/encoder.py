"""SNAC's encoder on a CPU: the same sums in the same order, so the same bits, in less than half the time.

PyTorch's depthwise convolution is slow where it is dilated, up to seven times slower than the seven
shifted additions it stands for. Which of two orders of these additions it computes depends on its
kernels, so each convolution is asked, and one that agrees with neither is left as it is. The rest is
spared memory: activations change in place, and the first block, whose activations are the largest, takes
a few clips at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from snac import SNAC
from snac.layers import Snake1d
from torch import nn

FIRST_BLOCK_SAMPLES = 2**16  # 2 MB of activations in the micro codec, 12 MB in Orpheus'
_PROBE = (2, 1000)  # clips, steps

Depthwise = Callable[[nn.Conv1d, torch.Tensor, torch.Tensor], torch.Tensor]


class Encoder:
    """What `snac.encoder(batch)` computes; the weights are the module's own."""

    def __init__(self, snac: SNAC):
        self.first, self.block, *self.rest = snac.encoder.block
        units = [unit for block in (self.block, *self.rest) for unit in _units(block)]
        self.depthwise: dict[nn.Module, Depthwise] = {
            unit.block[1]: agreeing(unit.block[1]) for unit in units
        }

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Waves (B, 1, T), T a multiple of the hop -> latents (B, C, T / hop)."""
        size = max(1, FIRST_BLOCK_SAMPLES // batch.shape[-1])
        latents = torch.cat([self._run(self.block, self.first(part)) for part in batch.split(size)])
        for layer in self.rest:
            latents = self._run(layer, latents)
        return latents

    def _run(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """EncoderBlock(x), in x's own memory; other layers as they are."""
        units = _units(layer)
        if not units:
            return layer(x)
        one, two = torch.empty_like(x), torch.empty_like(x)
        for unit in units:
            enter, depthwise, leave, pointwise = unit.block
            mixed = self.depthwise[depthwise](depthwise, snake(enter, x, one), two)
            x.add_(pointwise(snake(leave, mixed, one)))
        last, down = layer.block[len(units) :]
        return down(snake(last, x, one))


def _units(layer: nn.Module) -> list[nn.Module]:
    """The residual units of an EncoderBlock, none of another layer."""
    return list(layer.block[:-2]) if hasattr(layer, "block") else []


def snake(module: Snake1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """x + sin(alpha x)^2 / alpha, into `out`; the operations of snac.layers.snake."""
    torch.mul(x, module.alpha, out=out)
    return out.sin_().square_().mul_((module.alpha + 1e-9).reciprocal()).add_(x)


def bias_first(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.copy_(conv.bias[:, None].expand_as(x)))


def bias_last(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _add_taps(conv, x, out.zero_()).add_(conv.bias[:, None])


def _add_taps(conv: nn.Conv1d, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Add the input (B, C, T), shifted and weighted, once for each tap; zeros beyond its ends."""
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
def agreeing(conv: nn.Conv1d) -> Depthwise:
    """The order of additions that gives the convolution's own bits on noise."""
    if conv.groups != conv.in_channels or conv.bias is None:
        return as_it_is
    noise = torch.empty(_PROBE[0], conv.in_channels, _PROBE[1])
    noise.normal_(generator=torch.Generator().manual_seed(0))
    wanted = conv(noise)
    for order in (bias_first, bias_last):
        if torch.equal(order(conv, noise, torch.empty_like(noise)), wanted):
            return order
    return as_it_is
