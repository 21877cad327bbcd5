"""Attention of one new token a row over the keys and values of what came before, which are kept here.

B: sequences; H: heads of keys; G: queries of each; E: head size; W: columns, of which a prompt fills the last
before the first token. Of a head, the two numbers that rotary positions turn together stand side by side, so
that a turn is one complex product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

BLOCK = 1024  # columns that the cache grows by: most sequences end long before their limit


class Attention:
    """lengths: of B prompts; shape: layers, H and E; turns (W, E / 2): by how much a position is turned."""

    def __init__(
        self, lengths: Sequence[int], shape: tuple[int, int, int], turns: torch.Tensor, dtype: torch.dtype
    ):
        layers, self._heads, size = shape
        self._end, device = max(lengths), turns.device
        if device.type == "cpu":  # where attention in bfloat16 would be no quicker
            dtype = torch.promote_types(dtype, torch.float32)
        self._positions, self._turns = torch.tensor(lengths, device=device), turns
        width = min(len(turns), self._end + BLOCK)
        self._cache = torch.zeros(
            layers, len(lengths), 2 * self._heads, width, size, dtype=dtype, device=device
        )
        unused = torch.arange(len(turns), device=device) < (self._end - self._positions)[:, None]
        mask = torch.zeros(unused.shape, dtype=dtype, device=device)
        self._mask = mask.masked_fill_(unused, -torch.inf)[:, None, None]
        self._hides = bool(unused.any())

    def fill(self, layer: int, row: int, keys_values: torch.Tensor) -> None:
        """Those of a whole prompt, (2 H, T, E)."""
        self._cache[layer, row, :, self._end - keys_values.shape[1] : self._end] = keys_values

    def grow(self) -> None:
        """One column more: the calls that follow, one a layer, are about the next token of each row."""
        if self._end == self._cache.shape[3]:
            wider = min(len(self._turns), self._end + BLOCK) - self._end
            self._cache = F.pad(self._cache, (0, 0, 0, wider))
        self._turn = self._turns[self._positions, None]
        self._end, self._positions = self._end + 1, self._positions + 1

    def __call__(self, layer: int, made: torch.Tensor, scale: float) -> torch.Tensor:
        """made (B, H G + 2 H, E): queries, keys and values -> (B, H G E) of the same dtype."""
        cache = self._cache[layer]
        cache[:, self._heads :, self._end - 1] = made[:, -self._heads :]
        turned_ = turned(made[:, : -self._heads], self._turn).to(cache.dtype)
        cache[:, : self._heads, self._end - 1] = turned_[:, -self._heads :]
        keys, values = cache[:, :, : self._end].chunk(2, dim=1)
        mask = self._mask[..., : self._end] if self._hides else None
        # the queries that share a key stand where the positions of one sequence would: nothing is repeated
        queries = turned_[:, : -self._heads].unflatten(1, (self._heads, -1))
        heard = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
        return heard.flatten(1).to(made.dtype)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache[:, : len(rows), :, : self._end] = self._cache[:, rows, :, : self._end]
        self._cache, self._positions = self._cache[:, : len(rows)], self._positions[rows]
        self._mask = self._mask[rows]
        self._hides = self._hides and bool(self._mask.any())


def turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary positions of x (..., E), in float32 or better; turns (..., E / 2)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2))
    return torch.view_as_real(torch.view_as_complex(wide) * turns).flatten(-2)
