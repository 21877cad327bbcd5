"""Attention of one new token a row over the cache of what came before.

A fused attention is made for many queries. Here each key has a handful, and on a CPU such a step only waits
for the cache. Two loops that read every key and every value once, compiled by numba, with torch's softmax
between them take half the time of torch's kernel.

B: sequences; H: heads of keys; G: queries of each; E: head size; W: columns of the cache.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch.nn import functional as F


class Fused:
    """starts (B,): each row's first column that is filled. The dtype is the cache's."""

    def __init__(self, starts: torch.Tensor, width: int, dtype: torch.dtype):
        unused = torch.arange(width, device=starts.device) < starts[:, None]
        mask = torch.zeros(unused.shape, dtype=dtype, device=starts.device)
        self._mask = mask.masked_fill_(unused, -torch.inf)[:, None, None]
        self._hides = bool(unused.any())

    def __call__(self, queries: torch.Tensor, cache: torch.Tensor, end: int, scale: float) -> torch.Tensor:
        """queries (B, H, G, E) -> (B, H, G, E); cache (B, 2 H, W, E): keys, then values, full up to `end`."""
        keys, values = cache[:, :, :end].chunk(2, dim=1)
        mask = self._mask[..., :end] if self._hides else None
        # the queries that share a key stand where the positions of one sequence would: nothing is repeated
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._mask = self._mask[rows]
        self._hides = self._hides and bool(self._mask.any())


class Looped:
    """The same on one thread of a CPU."""

    def __init__(self, starts: torch.Tensor):
        self._starts = starts.numpy()

    def __call__(self, queries: torch.Tensor, cache: torch.Tensor, end: int, scale: float) -> torch.Tensor:
        past, scores = cache.numpy(), queries.new_empty(*queries.shape[:3], end)
        _score((queries * scale).numpy(), past, self._starts, scores.numpy())
        heard = torch.zeros_like(queries)
        _mix(scores.softmax(-1).numpy(), past, self._starts, heard.numpy())
        return heard

    def keep(self, rows: torch.Tensor) -> None:
        self._starts = self._starts[rows.numpy()]


def attention(starts: torch.Tensor, width: int, dtype: torch.dtype) -> Fused | Looped:
    alone = starts.device.type == "cpu" and torch.get_num_threads() == 1
    if alone and dtype in (torch.float32, torch.float64):
        return Looped(starts)
    return Fused(starts, width, dtype)


# sums may be taken in any order, as in every product of matrices
_compiled = numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})


@_compiled
def _score(queries: np.ndarray, cache: np.ndarray, starts: np.ndarray, scores: np.ndarray) -> None:
    for row in range(queries.shape[0]):
        for head in range(queries.shape[1]):
            scores[row, head, :, : starts[row]] = -np.inf
            for column in range(starts[row], scores.shape[3]):
                key = cache[row, head, column]
                for one in range(queries.shape[2]):
                    query, total = queries[row, head, one], scores.dtype.type(0)
                    for e in range(len(key)):
                        total += query[e] * key[e]
                    scores[row, head, one, column] = total


@_compiled
def _mix(shares: np.ndarray, cache: np.ndarray, starts: np.ndarray, heard: np.ndarray) -> None:
    heads = shares.shape[1]
    for row in range(shares.shape[0]):
        for head in range(heads):
            for column in range(starts[row], shares.shape[3]):
                value = cache[row, heads + head, column]
                for one in range(shares.shape[2]):
                    share, into = shares[row, head, one, column], heard[row, head, one]
                    for e in range(len(value)):
                        into[e] += share * value[e]
