"""Attention of whole utterances to their own past, on a CPU, with its gradient.

The fused attention of torch is slow there in its gradient. Here all queries and keys of an utterance are one
product, and what is no product of matrices is one loop.

N: positions of all utterances and what fills them up; T: of one; H: heads of keys; G: queries of each;
E: head size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from sotaque.backends.orpheus import kernels
from sotaque.backends.orpheus.kernels import array


class Causal(torch.autograd.Function):
    """qkv (N, H G + 2 H, E): queries, keys and values -> (N, H G E).

    cos, sin (T or more, E / 2): turns of the positions. lengths: of the utterances, which lie one after
    another; what follows the last hears nothing. Scores and their softmax are computed in float32 or better,
    as a fused attention does.
    """

    @staticmethod
    def forward(ctx, qkv, heads, cos, sin, scale, lengths):
        group, size = qkv.shape[1] // heads - 2, qkv.shape[2]
        scratch = _scratch(qkv, lengths, heads, group)
        heard, kept = qkv.new_zeros(len(qkv), heads * group * size), []
        for one in _utterances(lengths):
            new = qkv[one]
            queries, keys = new.new_empty(heads, len(new) * group, size), new.new_empty(heads, len(new), size)
            kernels.turned(*map(array, (new, cos, sin, queries, keys)))
            values = new[:, -heads:].transpose(0, 1).contiguous()
            scores = _exact_product(queries, keys, scratch)
            shares = torch.empty_like(scores, dtype=qkv.dtype)
            kernels.shares(scores.numpy(), scale, group, array(shares))
            mixed = (shares @ values).view(heads, len(new), group * size)
            _by_head(heard[one], heads).copy_(mixed)
            kept += [queries, keys, values, shares]
        ctx.save_for_backward(cos, sin, *kept)
        ctx.scale, ctx.lengths, ctx.group = scale, lengths, group
        return heard

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        cos, sin, *kept = ctx.saved_tensors
        heads, _, size = kept[0].shape
        scratch = _scratch(grad, ctx.lengths, heads, ctx.group)
        by_qkv = grad.new_zeros(len(grad), heads * (ctx.group + 2), size)
        kept = [kept[i::4] for i in range(4)]
        for one, queries, keys, values, shares in zip(_utterances(ctx.lengths), *kept, strict=True):
            slope = _by_head(grad[one], heads).reshape(queries.shape)
            by_shares, by_scores = _exact_product(slope, values, scratch), torch.empty_like(shares)
            kernels.shares_slope(by_shares.numpy(), array(shares), ctx.scale, ctx.group, array(by_scores))
            by = by_scores @ keys, by_scores.transpose(1, 2) @ queries, shares.transpose(1, 2) @ slope
            kernels.turned_slope(*map(array, (*by, cos, sin, by_qkv[one])))
        return by_qkv, *[None] * 5


def _utterances(lengths: Sequence[int]) -> Iterator[slice]:
    for start, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        yield slice(start, end)


def _by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(T, H G E) -> (H, T, G E)."""
    return x.unflatten(1, (heads, -1)).transpose(0, 1)


def _scratch(like: torch.Tensor, lengths: Sequence[int], heads: int, group: int) -> torch.Tensor:
    """Memory for the scores of the longest utterance, which all use in turn, so that it stays near."""
    wide = torch.promote_types(like.dtype, torch.float32)
    return like.new_empty(heads * group * max(lengths) ** 2, dtype=wide)


def _exact_product(a: torch.Tensor, b: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """a (H, T G, E) with b (H, T, E) -> (H, T G, T), in float32 or better, in the scratch."""
    shape = *a.shape[:2], b.shape[1]
    made, matmul = scratch[: math.prod(shape)].view(shape), torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    try:
        if a.dtype == torch.bfloat16:  # what was rounded already may be multiplied as such, with float32 sums
            matmul.fp32_precision = "bf16"
        return torch.bmm(a.to(made.dtype), b.to(made.dtype).transpose(1, 2), out=made)
    finally:
        matmul.fp32_precision = before
