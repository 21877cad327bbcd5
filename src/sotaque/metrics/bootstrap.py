"""Percentile bootstrap over utterances (Efron & Tibshirani 1993, chapter 13), seeded.

Corpus figures are ratios of sums (errors / words), so an utterance is drawn with both of its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """sum / sum; None where there is nothing to divide by."""
    below = float(np.sum(denominators))
    return float(np.sum(numerators)) / below if below else None


def interval(
    numerators: Sequence[float], denominators: Sequence[float], samples: int, seed: int
) -> tuple[float | None, float | None]:
    """95 % interval of sum(numerators) / sum(denominators) over resampled utterances."""
    return difference_interval(numerators, np.zeros(len(numerators)), denominators, samples, seed)


def difference_interval(
    first: Sequence[float], second: Sequence[float], denominators: Sequence[float], samples: int, seed: int
) -> tuple[float | None, float | None]:
    """95 % interval of (sum(first) - sum(second)) / sum(denominators), the same utterances in both.

    Pairing removes what makes an utterance hard for both systems, so the interval is narrower than two
    separate ones would suggest.
    """
    above = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    below = np.asarray(denominators, dtype=float)
    if not below.sum():
        return None, None
    rng = np.random.Generator(np.random.PCG64(seed))
    draws = []
    for _ in range(samples):
        chosen = rng.integers(0, len(above), len(above))
        weight = below[chosen].sum()
        if weight:
            draws.append(above[chosen].sum() / weight)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
