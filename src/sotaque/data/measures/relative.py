"""Measures that only the whole corpus can give: how far from the others a clip is, and what it repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

FEWEST = 10
_MAD_TO_Z = 0.6745
_MEAN_DEVIATION_TO_Z = 1 / 1.253314


def robust_z(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """The modified z-score of each value (N,) among its group: 0.6745 (x - median) / MAD.

    MAD is the median absolute deviation; where it is 0, because half of the values are equal, the mean
    absolute deviation stands in: (x - median) / (1.253314 mean). Both are of B. Iglewicz and D. Hoaglin, How
    to Detect and Handle Outliers (1993), who call 3.5 an outlier. NaN for NaN, and in groups of fewer than
    ten, which say nothing.
    """
    z = np.full(len(values), np.nan)
    names = np.asarray(groups, dtype=object)
    for name in set(groups):
        members = (names == name) & np.isfinite(values)
        if members.sum() < FEWEST:
            continue
        away = values[members] - np.median(values[members])
        median, mean = np.median(np.abs(away)), np.abs(away).mean()
        scale = _MAD_TO_Z / median if median > 0 else _MEAN_DEVIATION_TO_Z / mean if mean > 0 else 0.0
        z[members] = away * scale
    return z


def earlier(keys: Iterable[Hashable]) -> np.ndarray:
    """How many equal keys stand before each: (N,); 0 for the first of its kind."""
    count: Counter[Hashable] = Counter()
    found = []
    for key in keys:
        found.append(count[key])
        count[key] += 1
    return np.array(found, dtype=float)
