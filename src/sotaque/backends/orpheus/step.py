"""One more token for every row on one thread of a CPU: all layers in one call, compiled by numba.

A network of some millions of weights computes a step in less time than torch needs to start its many small
operations. Here rows, weights and what the layers heard before are read once each, in the precision of the
network; all else is float32.

B: rows; D: width; H: heads of keys; G: queries of each; E: head size; W: columns, of which a prompt fills the
last before the first token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch

from sotaque.backends.orpheus import kernels
from sotaque.backends.orpheus.kernels import LANES, ROWS, array


class Step:
    """weights: those of queries, keys and values of all layers, then of what was heard, of gate and up, of
    down; norms (2 layers + 1, D); lengths: of B prompts; turns (W, E / 2): by how much a position turns."""

    def __init__(
        self,
        weights: Sequence[Sequence[torch.Tensor]],
        norms: torch.Tensor,
        eps: float,
        scale: float,
        lengths: Sequence[int],
        turns: torch.Tensor,
        heads: int,
    ):
        self._dtype = weights[0][0].dtype
        self._weights = *map(packed, weights), norms.float().numpy(), np.float32(eps), np.float32(scale)
        self._end, self._turns, self._rows = max(lengths), turns.numpy(), np.arange(len(lengths))
        self._starts = self._end - np.array(lengths)
        shape = len(norms) // 2, len(lengths), 2 * heads, len(turns), 2 * turns.shape[1]
        self._past = np.empty(shape, self._weights[0].dtype)  # numpy asks for large pages, torch does not

    def fill(self, layer: int, row: int, keys_values: torch.Tensor) -> None:
        """What a layer made of a whole prompt, (2 H, T, E), turned."""
        self._past[layer, row, :, self._starts[row] : self._end] = array(keys_values.contiguous())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Embedded tokens x (B, D) -> (B, D), normed."""
        if self._end == len(self._turns):
            raise IndexError(f"there is room for {self._end} positions, and this would be one more")
        self._end += 1
        hidden = torch.zeros(-(-len(x) // ROWS) * ROWS, x.shape[1])
        hidden[: len(x)] = x
        kernels.step(
            hidden.numpy(), *self._weights, self._turns, self._past, self._rows, self._starts, self._end
        )
        return hidden[: len(x)].to(self._dtype)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._rows = self._rows[rows.numpy()]


def serves(weight: torch.Tensor) -> bool:
    """Whether there are tiles for it, (outputs, K), and where it is.

    In bfloat16 only where numba compiles for this processor: NUMBA_CPU_NAME may name an older one.
    """
    whole = weight.shape[0] % LANES == 0 and weight.shape[1] % 2 == 0
    if weight.device.type != "cpu" or not whole:
        return False
    if weight.dtype is torch.bfloat16:
        compiles_for_host = numba.config.CPU_NAME is None and numba.config.CPU_FEATURES is None
        return compiles_for_host and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return weight.dtype is torch.float32


def packed(weights: Sequence[torch.Tensor]) -> np.ndarray:
    """Those of layers, each (outputs, K) -> (layers, outputs / LANES, K, LANES); in bfloat16 pairs of inputs
    stand together."""
    pair = 2 if weights[0].dtype is torch.bfloat16 else 1
    outputs, inputs = weights[0].shape
    shape = len(weights), outputs // LANES, inputs // pair, LANES, pair
    made = np.empty(shape, array(weights[0][:0]).dtype)  # numpy asks for large pages, torch does not
    for into, weight in zip(made, weights, strict=True):
        into[...] = array(weight.view(-1, LANES, inputs // pair, pair)).transpose(0, 2, 1, 3)
    return made.reshape(*shape[:2], inputs, LANES)
