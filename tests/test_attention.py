"""Two loops over the cache against torch's own attention, and against what a row hears alone."""

import pytest
import torch

from sotaque.backends.orpheus.attention import Fused, Looped, attention

WIDTH, END = 12, 9


def state(dtype=torch.float32, rows=3, heads=2, group=3, size=8):
    torch.manual_seed(0)
    queries = torch.randn(rows, heads, group, size, dtype=dtype)
    cache = torch.randn(rows, 2 * heads, WIDTH, size, dtype=dtype)
    return queries, cache, torch.tensor([0, 4, 8])[:rows]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loops_hear_what_the_fused_attention_hears(dtype):
    queries, cache, starts = state(dtype)
    heard = Looped(starts)(queries, cache, END, 0.3)
    expected = Fused(starts, WIDTH, dtype)(queries, cache, END, 0.3)
    assert heard.dtype == dtype
    assert torch.allclose(heard, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [Looped, lambda starts: Fused(starts, WIDTH, torch.float32)])
def test_what_is_not_filled_is_not_heard(kind):
    """Before a row's start and from `end` on the cache may hold anything, even what is no number."""
    queries, cache, starts = state()
    heard = kind(starts)(queries, cache, END, 0.3)
    for row, start in enumerate(starts):
        cache[row, :, :start] = 1e9
    cache[:, :, END:] = torch.nan
    assert torch.equal(kind(starts)(queries, cache, END, 0.3), heard)
    cache[0, 0, 3] += 1
    assert not torch.equal(kind(starts)(queries, cache, END, 0.3), heard)


@pytest.mark.parametrize("kind", [Looped, lambda starts: Fused(starts, WIDTH, torch.float32)])
def test_rows_that_are_kept_keep_their_starts(kind):
    queries, cache, starts = state()
    whole, part = kind(starts), kind(starts)
    rows = torch.tensor([2, 0])
    part.keep(rows)
    heard = part(queries[rows], cache[rows], END, 0.3)
    assert torch.allclose(heard, whole(queries, cache, END, 0.3)[rows], atol=1e-6)


def test_one_key_alone_is_heard_whole():
    queries, cache, starts = state()
    heard = Looped(starts)(queries, cache, END, 0.3)
    assert torch.allclose(heard[2], cache[2, 2:, None, 8].expand_as(heard[2]))


def test_the_loops_are_for_one_thread_and_for_what_numpy_knows():
    starts, threads = torch.zeros(1, dtype=torch.long), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert isinstance(attention(starts, WIDTH, torch.float32), Looped)
        assert isinstance(attention(starts, WIDTH, torch.bfloat16), Fused)
        torch.set_num_threads(2)
        assert isinstance(attention(starts, WIDTH, torch.float32), Fused)
    finally:
        torch.set_num_threads(threads)
