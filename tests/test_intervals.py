"""Confidence intervals: cases to check by hand, and how often they hold the true value, by simulation.

The simulated clips have 4 to 12 words. A clip's chance of an error is expit(mean + speaker + clip), with
normal deviations, so the true rate is known, and the clips of a speaker are alike.
"""

import functools

import numpy as np
import pytest
from scipy import stats

from sotaque.metrics import intervals

RUNS = 600
FLOOR = 0.90


@functools.cache
def true_mean(rate, sd):
    """The mean of the logits at which the mean chance, over normal deviations of `sd`, is `rate`."""
    deviations = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) * sd
    low, high = -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + deviations).mean() < rate else (low, middle)
    return low


def expit(logits):
    return 1 / (1 + np.exp(-logits))


def holds(interval, truth):
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


def draw(rng, rate, speakers, clips, speaker_sd, clip_sd, count=1):
    """Words (N,), the speaker of each clip, and `count` systems' errors (N,) in the same clips."""
    mean = true_mean(rate, np.hypot(speaker_sd, clip_sd))
    names = np.repeat(np.arange(speakers), clips)
    words = rng.integers(4, 13, speakers * clips)
    logits = mean + speaker_sd * rng.standard_normal(speakers)[names]
    return words, names, [
        rng.binomial(words, expit(logits + clip_sd * rng.standard_normal(len(words)))) for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("clips", [5, 16, 60])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_error_rates_of_one_speaker_are_covered(clips, rate):
    rng = np.random.default_rng(clips)
    found = [
        holds(intervals.error_rate_interval(errors, words, names), rate)
        for words, names, [errors] in (draw(rng, rate, 1, clips, 0.0, 0.8) for _ in range(RUNS))
    ]
    assert np.mean(found) >= FLOOR


@pytest.mark.parametrize("speakers", [4, 10])
@pytest.mark.parametrize("speaker_sd", [0.5, 1.0])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_error_rates_of_several_speakers_are_covered(speakers, speaker_sd, rate):
    rng = np.random.default_rng(speakers)
    found = [
        holds(intervals.error_rate_interval(errors, words, names), rate)
        for words, names, [errors] in (draw(rng, rate, speakers, 20, speaker_sd, 0.8) for _ in range(RUNS))
    ]
    assert np.mean(found) >= FLOOR


@pytest.mark.parametrize("clips", [5, 16, 60])
def test_error_rates_near_one_are_covered(clips):
    rng = np.random.default_rng(clips)
    found = [
        holds(intervals.error_rate_interval(errors, words, names), 0.9)
        for words, names, [errors] in (draw(rng, 0.9, 1, clips, 0.0, 0.8) for _ in range(RUNS))
    ]
    assert np.mean(found) >= FLOOR


@pytest.mark.parametrize(
    ("speakers", "clips", "speaker_sd"), [(1, 5, 0), (1, 16, 0), (1, 60, 0), (4, 20, 1.0)]
)
def test_paired_differences_are_covered(speakers, clips, speaker_sd):
    """Two systems with one rate, so the true difference is 0."""
    rng = np.random.default_rng(clips)
    found = [
        holds(intervals.paired_error_rate_interval(first, second, words, names), 0.0)
        for words, names, [first, second] in (
            draw(rng, 0.05, speakers, clips, speaker_sd, 0.8, count=2) for _ in range(RUNS)
        )
    ]
    assert np.mean(found) >= FLOOR


@pytest.mark.parametrize(("speakers", "clips"), [(1, 5), (1, 16), (1, 60), (4, 20), (10, 20)])
def test_means_are_covered(speakers, clips):
    """Values of a skewness of 1 (gamma draws) around a mean of 0.9, which differ by speaker."""
    rng = np.random.default_rng(clips)
    found = []
    for _ in range(RUNS):
        names = np.repeat(np.arange(speakers), clips)
        shift = 0.05 * rng.standard_normal(speakers)[names] if speakers > 1 else 0.0
        values = 1 - 0.025 * rng.gamma(4.0, size=len(names)) + shift
        found.append(holds(intervals.mean_interval(values, names), 0.9))
    assert np.mean(found) >= FLOOR


@pytest.mark.parametrize("sizes", [(60, 20, 20, 10, 10), (200, *[10] * 9), (40, 40, *[5] * 10)])
def test_means_of_speakers_with_unequal_numbers_of_clips_are_covered(sizes):
    rng = np.random.default_rng(len(sizes))
    names = np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for _ in range(RUNS):
        shift = 0.1 * rng.standard_normal(len(sizes))[names]
        values = 0.5 + shift + 0.1 * rng.standard_normal(len(names))
        found.append(holds(intervals.mean_interval(values, names), 0.5))
    assert np.mean(found) >= FLOOR


def test_a_speaker_who_is_most_of_the_sample_leaves_no_interval():
    found = intervals.mean_interval(np.linspace(0.5, 0.9, 100), ["a"] * 96 + ["b", "c", "d", "e"])
    assert (found.low, found.method) == (None, "no interval: one speaker is most of the sample")


def test_speakers_with_one_clip_each_are_called_speakers():
    found = intervals.mean_interval([0.1, 0.2, 0.3], ["a", "b", "c"])
    assert found.method == "95 % t interval over 3 speakers, 3 clips"


def test_the_mean_of_one_speaker_is_students():
    values = [0.70, 0.80, 0.85, 0.90, 0.75]
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    found = intervals.mean_interval(values, ["a"] * 5)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.method == "95 % t interval over 5 clips of one speaker; it says nothing of other speakers"


def test_the_mean_of_equal_speakers_is_students_over_speakers():
    """Clips of one speaker that are all alike add nothing: 4 x 25 clips are 4 values."""
    levels = [0.6, 0.7, 0.9, 0.8]
    found = intervals.mean_interval(np.repeat(levels, 25), np.repeat(["a", "b", "c", "d"], 25))
    expected = stats.t.interval(0.95, 3, np.mean(levels), stats.sem(levels))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.method == "95 % t interval over 4 speakers, 100 clips"


def test_no_error_is_no_proof_of_none():
    """0 errors in n clips: a rate whose chance of none in n clips is 2.5 % is still possible."""
    found = intervals.error_rate_interval([0] * 20, [8] * 20, ["a"] * 20)
    assert found.low == 0
    assert (1 - found.high) ** 20 == pytest.approx(0.025)


def test_all_wrong_is_the_mirror_of_none():
    none = intervals.error_rate_interval([0] * 20, [8] * 20, ["a"] * 20)
    every = intervals.error_rate_interval([8] * 20, [8] * 20, ["a"] * 20)
    assert every.low == pytest.approx(1 - none.high)
    assert every.high >= 1


def test_insertions_may_take_a_rate_above_one():
    found = intervals.error_rate_interval([12, 16, 20, 10, 9], [8] * 5, ["a"] * 5)
    assert found.low < 67 / 40 < found.high


def test_a_difference_without_discordant_clips_has_a_width():
    found = intervals.paired_error_rate_interval([1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [8] * 5, ["a"] * 5)
    assert found.low == -found.high < 0


def test_the_paired_difference_of_means_is_the_paired_t_test():
    first, second = [0.9, 0.8, 0.7, 0.9, 0.95], [0.8, 0.75, 0.7, 0.7, 0.9]
    found = intervals.paired_mean_interval(first, second, ["a"] * 5)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_what_two_systems_share_leaves_their_difference():
    """The same hard clips in both: the difference is sure where each alone is not."""
    hard = np.array([0.2, 0.9, 0.5, 0.7, 0.1, 0.8])
    found = intervals.paired_mean_interval(hard + 0.1, hard + np.array([0, 0, 0.01, 0, 0.01, 0]), ["a"] * 6)
    alone = intervals.mean_interval(hard, ["a"] * 6)
    assert found.high - found.low < 0.1 * (alone.high - alone.low)


def test_a_ratio_with_equal_denominators_is_a_mean():
    found = intervals.ratio_interval([2, 4, 6, 5], [2] * 4, ["a"] * 4)
    mean = intervals.mean_interval([1, 2, 3, 2.5], ["a"] * 4)
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high))


def test_a_paired_ratio_with_equal_denominators_is_a_paired_mean():
    found = intervals.paired_ratio_interval([2, 4, 6], [2] * 3, [1, 4, 2], [2] * 3, ["a"] * 3)
    mean = intervals.paired_mean_interval([1, 2, 3], [0.5, 2, 1], ["a"] * 3)
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high))


@pytest.mark.parametrize("found", [
    intervals.error_rate_interval([1] * 4, [8] * 4, ["a"] * 4),
    intervals.mean_interval([0.9], ["a"]),
    intervals.mean_interval([], []),
    intervals.ratio_interval([1.0, 2.0], [0.0, 0.0], ["a", "a"]),
])  # fmt: skip
def test_too_little_has_no_interval_and_says_why(found):
    assert found.low is None
    assert found.high is None
    assert found.method.startswith("no interval: ")


def test_values_all_alike_are_not_certain():
    """Twenty silent clips have a similarity of 0 each; some of the next may be better, none worse."""
    found = intervals.mean_interval([0.0] * 20, ["a"] * 20, bounds=(0.0, 1.0))
    assert found.low == 0.0
    assert (1 - found.high) ** 20 == pytest.approx(0.025)


def test_speakers_are_one_for_each_clip():
    with pytest.raises(ValueError, match="one for each clip"):
        intervals.mean_interval([0.1, 0.2], ["a"])
