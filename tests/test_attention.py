"""Attention of one new token over what is kept, against the same sums written out."""

import math

import pytest
import torch

from sotaque.backends.orpheus.attention import Attention, turned

HEADS, GROUP, SIZE, WIDTH = 2, 3, 8, 12
LENGTHS = [7, 3, 1]


def turns():
    angles = torch.arange(WIDTH)[:, None] * torch.linspace(1, 0.1, SIZE // 2, dtype=torch.float64)
    return torch.polar(torch.ones_like(angles), angles)


def started():
    torch.manual_seed(0)
    attention = Attention(LENGTHS, (1, HEADS, SIZE), turns(), torch.float64)
    for row, length in enumerate(LENGTHS):
        attention.fill(0, row, torch.randn(2 * HEADS, length, SIZE, dtype=torch.float64))
    return attention


def news(rows=3):
    torch.manual_seed(1)
    return torch.randn(rows, HEADS * GROUP + 2 * HEADS, SIZE, dtype=torch.float64)


def by_hand(made, row, scale):
    """One row alone: sums written out for each query."""
    torch.manual_seed(0)
    past = [torch.randn(2 * HEADS, length, SIZE, dtype=torch.float64) for length in LENGTHS][row]
    turn = turns()[LENGTHS[row]]
    heard = []
    for query in range(HEADS * GROUP):
        head = query // GROUP
        keys = torch.cat([past[head], turned(made[row, HEADS * GROUP + head], turn)[None]])
        values = torch.cat([past[HEADS + head], made[row, HEADS * GROUP + HEADS + head][None]])
        asked = turned(made[row, query], turn)
        shares = [math.exp(scale * float(asked @ key)) for key in keys]
        heard.append(sum(share / sum(shares) * value for share, value in zip(shares, values, strict=True)))
    return torch.cat(heard)


def test_it_is_the_sum_written_out():
    attention, made = started(), news()
    attention.grow()
    heard = attention(0, made, 0.3)
    for row in range(3):
        assert torch.allclose(heard[row], by_hand(made, row, 0.3))


def test_rows_that_are_kept_hear_what_is_theirs():
    attention, made = started(), news()
    rows = torch.tensor([2, 0])
    attention.keep(rows)
    attention.grow()
    heard = attention(0, made[rows], 0.3)
    for place, row in enumerate(rows):
        assert torch.allclose(heard[place], by_hand(made, row, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_turn_moves_each_pair_by_its_angle(dtype):
    x = torch.tensor([1.0, 0.0, 0.0, 2.0], dtype=dtype)
    quarter = torch.polar(torch.ones(2), torch.tensor([math.pi / 2, math.pi]))
    moved = turned(x, quarter)
    assert moved.dtype == torch.float32
    assert torch.allclose(moved, torch.tensor([0.0, 1.0, 0.0, -2.0]), atol=1e-6)
