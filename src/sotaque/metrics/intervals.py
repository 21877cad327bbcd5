"""95 % confidence intervals of a metric, from its value for each clip.

The clips of one speaker are alike. So with several speakers a speaker is one unit of the sample, and the
interval speaks of further speakers; with one speaker a clip is one unit, and the interval speaks of further
texts of this speaker. Every quantity is a ratio of two sums (a mean has denominators of 1). Its variance is
that of the linearised ratio between units, and t quantiles with units - 1 degrees of freedom stand for the
few units. Resampling (the bootstrap) is not used: with 4 to 10 speakers its 95 % intervals hold the true
value in 78 to 87 % of cases.

Error counts are skewed, and often zero. Their intervals are those of Fay and Feuer (1997, Statistics in
Medicine 16:791), which hold the true value also when few errors were seen. tests/test_intervals.py measures
the coverage of each function by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
MIN_CLIPS = 5  # for error counts; with fewer, no interval holds the true rate often enough and says anything
INTRACLASS_CORRELATION = 0.1  # of the clips of a speaker, assumed where no error was seen to estimate it from
_TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Interval:
    """low, high: None where there is no honest interval. method: how it was made, or why there is none."""

    low: float | None
    high: float | None
    method: str


class _Ratio(NamedTuple):
    """A ratio of sums, its variance between units, and the number of units."""

    value: float
    variance: float
    units: int

    @property
    def t(self) -> float:
        return float(stats.t.ppf(1 - _TAIL, self.units - 1))


def error_rate_interval(
    errors: Sequence[float], totals: Sequence[float], speakers: Sequence[str]
) -> Interval:
    """The interval of sum(errors) / sum(totals), such as a WER, which insertions may take above 1.

    errors, totals, speakers: for each clip, its errors, its words or characters, and its speaker.
    """
    errors_, totals_ = np.asarray(errors, float), np.asarray(totals, float)
    if (reason := _why_none(totals_, MIN_CLIPS)) is not None:
        return Interval(None, None, reason)
    ratio = _ratio(errors_, totals_, speakers)
    # One more error than was seen, of all words, bounds what the next sample may hold.
    unseen, rare = 1 / totals_.sum(), _share_of_unseen(len(totals_), ratio.units)
    low, high = _gamma_interval(ratio, unseen, rare)
    if 0.5 < ratio.value <= 1:  # near 1 the right words are few, and skewed, as the errors are near 0
        right_low, right_high = _gamma_interval(ratio._replace(value=1 - ratio.value), unseen, rare)
        low, high = 1 - right_high, max(high, 1 - right_low)
    return Interval(max(0.0, low), high, _method("gamma interval (Fay and Feuer 1997)", len(totals_), ratio))


def paired_error_rate_interval(
    errors_a: Sequence[float], errors_b: Sequence[float], totals: Sequence[float], speakers: Sequence[str]
) -> Interval:
    """The interval of rate a minus rate b, where two systems spoke the same clips (`totals` words each)."""
    difference, totals_ = np.subtract(errors_a, errors_b).astype(float), np.asarray(totals, float)
    if (reason := _why_none(totals_, MIN_CLIPS)) is not None:
        return Interval(None, None, reason)
    ratio = _ratio(difference, totals_, speakers)
    half = ratio.t * np.sqrt(ratio.variance + totals_.sum() ** -2)  # one error more than was seen
    if not difference.any():
        half = _share_of_unseen(len(totals_), ratio.units)
    return _around(ratio, half, "paired t interval", len(totals_))


def mean_interval(
    values: Sequence[float], speakers: Sequence[str], bounds: tuple[float, float] | None = None
) -> Interval:
    """The interval of a mean over clips. bounds: the least and the largest value that the metric can have."""
    return _t_interval(np.asarray(values, float), np.ones(len(values)), speakers, "t interval", bounds)


def paired_mean_interval(
    values_a: Sequence[float], values_b: Sequence[float], speakers: Sequence[str]
) -> Interval:
    """The interval of mean a minus mean b, where two systems spoke the same clips."""
    difference = np.subtract(values_a, values_b).astype(float)
    return _t_interval(difference, np.ones(len(difference)), speakers, "paired t interval")


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], speakers: Sequence[str]
) -> Interval:
    """The interval of sum(numerators) / sum(denominators) of measured quantities, such as seconds."""
    return _t_interval(np.asarray(numerators, float), np.asarray(denominators, float), speakers, "t interval")


def paired_ratio_interval(
    numerators_a: Sequence[float],
    denominators_a: Sequence[float],
    numerators_b: Sequence[float],
    denominators_b: Sequence[float],
    speakers: Sequence[str],
) -> Interval:
    """The interval of ratio a minus ratio b, where two systems spoke the same clips."""
    a, b = np.asarray(denominators_a, float), np.asarray(denominators_b, float)
    if (reason := _why_none(a, 2) or _why_none(b, 2)) is not None:
        return Interval(None, None, reason)
    parts = [
        _residuals(np.asarray(numerators, float), denominators)
        for numerators, denominators in ((numerators_a, a), (numerators_b, b))
    ]
    ratio = _pool(parts[0][0] - parts[1][0], parts[0][1] - parts[1][1], speakers)
    return _around(ratio, ratio.t * np.sqrt(ratio.variance), "paired t interval", len(a))


def _t_interval(
    numerators: np.ndarray,
    denominators: np.ndarray,
    speakers: Sequence[str],
    name: str,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    if (reason := _why_none(denominators, 2)) is not None:
        return Interval(None, None, reason)
    ratio = _ratio(numerators, denominators, speakers)
    if bounds is None:
        return _around(ratio, ratio.t * np.sqrt(ratio.variance), name, len(numerators))
    least, largest = bounds
    half = ratio.t * np.sqrt(ratio.variance)
    low, high = ratio.value - half, ratio.value + half
    if np.ptp(numerators) == 0:  # all clips alike, such as all silent: the next one may be otherwise
        rare = _share_of_unseen(len(numerators), ratio.units)
        low, high = ratio.value + rare * (least - ratio.value), ratio.value + rare * (largest - ratio.value)
    return Interval(
        max(float(least), float(low)), min(float(largest), float(high)), _method(name, len(numerators), ratio)
    )


def _why_none(denominators: np.ndarray, least_clips: int) -> str | None:
    if len(denominators) < least_clips:
        clips = f"{len(denominators)} clip{'s' if len(denominators) != 1 else ''}"
        return f"no interval: {clips}, at least {least_clips} are needed"
    return None if denominators.sum() > 0 else "no interval: there is nothing to divide by"


def _ratio(numerators: np.ndarray, denominators: np.ndarray, speakers: Sequence[str]) -> _Ratio:
    return _pool(*_residuals(numerators, denominators), speakers)


def _residuals(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, np.ndarray]:
    """The ratio of the sums, and what each clip adds to its deviation (linearised)."""
    value = numerators.sum() / denominators.sum()
    return float(value), (numerators - value * denominators) / denominators.sum()


def _pool(value: float, residuals: np.ndarray, speakers: Sequence[str]) -> _Ratio:
    """Add up the residuals of each unit: a speaker, or a clip where there is one speaker."""
    names, of_clip = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(of_clip) != len(residuals):
        raise ValueError(f"{len(residuals)} clips, but {len(of_clip)} speakers; one for each clip is needed")
    sums = np.bincount(of_clip, residuals) if len(names) > 1 else residuals
    return _Ratio(value, float((sums**2).sum() * len(sums) / (len(sums) - 1)), len(sums))


def _share_of_unseen(clips: int, units: int) -> float:
    """The largest share of clips that may have what none of a sample has, exact for independent clips."""
    per_unit = clips / units
    effective = clips if units == clips else clips / (1 + (per_unit - 1) * INTRACLASS_CORRELATION)
    return 1 - _TAIL ** (1 / effective)


def _gamma_interval(ratio: _Ratio, unseen: float, rare: float) -> tuple[float, float]:
    """Fay and Feuer's interval of a rate whose variance has the t distribution of few units.

    unseen: what one more event adds to the rate. rare: the upper end when no event was seen.
    """
    rate = ratio.value
    if rate == 0:
        return 0.0, rare
    variance = ratio.variance * (ratio.t / stats.norm.ppf(1 - _TAIL)) ** 2
    low = rate
    if variance > 0:
        low = variance / (2 * rate) * stats.chi2.ppf(_TAIL, 2 * rate**2 / variance)
    more, wider = rate + unseen, variance + unseen**2
    return float(low), float(wider / (2 * more) * stats.chi2.ppf(1 - _TAIL, 2 * more**2 / wider))


def _around(ratio: _Ratio, half: float, name: str, clips: int) -> Interval:
    return Interval(float(ratio.value - half), float(ratio.value + half), _method(name, clips, ratio))


def _method(name: str, clips: int, ratio: _Ratio) -> str:
    if ratio.units == clips:
        return f"95 % {name} over {clips} clips of one speaker; it says nothing of other speakers"
    return f"95 % {name} over {ratio.units} speakers, {clips} clips"
