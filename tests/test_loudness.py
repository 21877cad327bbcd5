"""loudness: cases of EBU Tech 3341, pyloudnorm's readings, and gains that content meters of both kinds."""

import math

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import sosfilt

from sotaque import loudness
from sotaque.errors import ClipError
from sounds import voice


@pytest.mark.parametrize("rate_hz", [22_050, 24_000, 48_000])
@pytest.mark.parametrize("level_dbfs", [-23.0, -33.0])
def test_a_sine_of_1_khz_has_the_loudness_of_the_standard(rate_hz, level_dbfs):
    """EBU Tech 3341 cases 1 and 2 are stereo; one of the two channels alone is 3.01 LU softer."""
    time_s = np.arange(rate_hz * 5) / rate_hz
    sine = (10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)
    assert loudness.loudness_lufs(sine, rate_hz) == pytest.approx(level_dbfs - 3.01, abs=0.1)


RATE_HZ = 24_000


def loud_and_soft(rate_hz, seconds, seed):
    """Noise whose level changes each tenth of a second, so that both gates have something to shut out."""
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-4.5, -0.5, math.ceil(10 * seconds)), rate_hz // 10 + 1)
    size = math.ceil(round(seconds * rate_hz, 6))
    return (level[:size] * rng.normal(size=size)).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("seconds", [0.4, 0.43, 0.5, 3.1, 8.72])
def test_the_loudness_is_pyloudnorms_where_the_end_cuts_off_no_block_or_most_of_one(rate_hz, seconds):
    samples = loud_and_soft(rate_hz, seconds, seed=round(100 * seconds))
    expected = pyloudnorm.Meter(rate_hz).integrated_loudness(samples.astype(np.float64))
    assert loudness.loudness_lufs(samples, rate_hz) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seconds", [0.46, 3.18])
def test_a_block_that_is_nearly_whole_is_counted_as_pyloudnorm_does_in_the_second_reading(seconds):
    samples = loud_and_soft(RATE_HZ, seconds, seed=5)
    standard, other = map(loudness.gated_lufs, loudness.block_powers(samples, RATE_HZ))
    expected = pyloudnorm.Meter(RATE_HZ).integrated_loudness(samples.astype(np.float64))
    assert other == pytest.approx(expected, abs=1e-4)
    assert standard == pytest.approx(loudness.loudness_lufs(samples, RATE_HZ))
    assert abs(standard - other) > 0.01


@pytest.mark.parametrize("size", [1, 31, 32, 33, 4095, 4096, 4097, 50_000])
def test_the_filters_are_pyloudnorms(size):
    samples = np.random.default_rng(size).uniform(-1, 1, size).astype(np.float32)
    sections = [np.r_[f.b, f.a] for f in pyloudnorm.Meter(RATE_HZ)._filters.values()]
    expected = sosfilt(sections, samples.astype(np.float64))
    np.testing.assert_allclose(loudness.k_weighted(samples, RATE_HZ), expected, atol=1e-5)


def test_silence_has_no_loudness_and_a_blink_is_too_short():
    assert loudness.loudness_lufs(np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ) == -np.inf
    assert np.isfinite(loudness.loudness_lufs(voice(0.4), RATE_HZ))
    with pytest.raises(ClipError) as caught:
        loudness.loudness_lufs(voice(0.39), RATE_HZ)
    assert caught.value.code == "too-short"


@pytest.mark.parametrize("seed", range(5))
def test_after_the_gain_the_standard_and_pyloudnorm_lie_on_either_side_of_the_target(seed):
    samples = loud_and_soft(RATE_HZ, 3.18, seed) / 10
    gain = 10 ** (loudness.gain_db(loudness.block_powers(samples, RATE_HZ), -23.0) / 20)
    standard = loudness.loudness_lufs(samples * np.float32(gain), RATE_HZ)
    theirs = pyloudnorm.Meter(RATE_HZ).integrated_loudness(gain * samples.astype(np.float64))
    assert (standard + theirs) / 2 == pytest.approx(-23.0, abs=0.01)


def test_what_the_gate_lets_pass_only_when_it_is_louder_counts():
    """Half speech at -62 LUFS, half noise at -71: raised by 39 dB, the noise lies above the gate at -70."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=4 * RATE_HZ).astype(np.float32)
    samples *= np.float32(10 ** ((-62 - loudness.loudness_lufs(samples, RATE_HZ)) / 20))
    samples[2 * RATE_HZ :] *= np.float32(10 ** (-9 / 20))
    gain_db = loudness.gain_db(loudness.block_powers(samples, RATE_HZ), -23.0)
    raised = samples * np.float32(10 ** (gain_db / 20))
    assert loudness.loudness_lufs(raised, RATE_HZ) == pytest.approx(-23.0, abs=0.01)
    assert abs(loudness.loudness_lufs(samples, RATE_HZ) + gain_db + 23.0) > 1.0
