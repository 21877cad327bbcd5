"""Measures of a wave: samples (T,), full scale 1.0, beside their rate_hz."""

from __future__ import annotations

import numpy as np

from sotaque import vad

HALF_STEP = 2.0**-16  # of a 16-bit sample
FLAT_SAMPLES = 3
BANDWIDTH_BELOW_PEAK_DB = 60.0
WINDOW_S = 0.04
NOISE_FRAME_S = 0.01
QUIETEST_SHARE = 0.03
QUIETEST_FRAMES = 5
ROUNDING_POWER = (2 * HALF_STEP) ** 2 / 12
LOWEST_SNR_DB = -20.0


def peak_dbfs(samples: np.ndarray) -> float:
    """20 log10 of the largest magnitude; 0 dBFS is full scale."""
    return 20 * float(np.log10(max(np.abs(samples).max(), HALF_STEP)))


def dc_offset(samples: np.ndarray) -> float:
    """The mean, as a share of full scale."""
    return float(samples.mean(dtype=np.float64))


def clipped_share(samples: np.ndarray) -> float:
    """Share of the samples in flat tops: three or more in a row at the clip's highest or lowest value.

    So a recording that was clipped and made quieter afterwards is found too; one that was resampled or
    coded by MP3 afterwards has lost its flat tops and is not.
    """
    high, low = samples.max(), samples.min()
    if high - low < 4 * HALF_STEP:
        return 0.0
    return float(_in_runs(samples >= high - HALF_STEP) + _in_runs(samples <= low + HALF_STEP)) / len(samples)


def _in_runs(flags: np.ndarray) -> int:
    """How many of the true flags (T,) stand in runs of FLAT_SAMPLES or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= FLAT_SAMPLES].sum())


def bandwidth_hz(samples: np.ndarray, rate_hz: int) -> float:
    """The highest frequency whose mean power is within 60 dB of the strongest one's; 0 for silence.

    Welch's method: Hann windows of 40 ms, every 20 ms. As EstimateBandwidth of NVIDIA's NeMo speech data
    processor, which takes 50 dB; 60 spares sentences without fricatives, and what lies above the band of an
    upsampled clip is lower by 80 dB and more.
    """
    size = min(len(samples), round(WINDOW_S * rate_hz))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: max(1, size // 2)]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size)))).mean(axis=0)
    if power.max() <= 0:
        return 0.0
    last = np.flatnonzero(power > power.max() * 10 ** (-BANDWIDTH_BELOW_PEAK_DB / 10))[-1]
    return float(last * rate_hz / size)


def silence_share(speech: np.ndarray) -> float:
    """Share of the frames, probabilities (F,) of vad.py, without speech; 1 where there is no frame."""
    return float((speech < vad.SPEECH).mean()) if len(speech) else 1.0


def snr_db(samples: np.ndarray, rate_hz: int, speech: np.ndarray) -> float:
    """10 log10((P - N) / N): P the mean power where vad.py hears speech, N that of the quietest frames.

    speech: its probabilities (F,), one for each 32 ms. The quietest are 3 % of all frames of 10 ms, five at
    least: the noise floor from the minima of the power, as R. Martin's minimum statistics (IEEE Transactions
    on Speech and Audio Processing 9(5), 2001) finds it, in its simplest form. Frames as short fall into the
    closures of stops, so a sentence without pauses will do; a clip without either has a higher SNR than this
    says. The quietest part of white noise is half a dB below the whole. 16-bit rounding is the least noise.
    """
    size = round(NOISE_FRAME_S * rate_hz)
    frames = len(samples) // size
    if frames == 0:
        return LOWEST_SNR_DB
    power = np.square(samples, dtype=np.float64)
    framed = np.sort(power[: frames * size].reshape(frames, size).mean(axis=1))
    noise = max(float(framed[: max(QUIETEST_FRAMES, round(QUIETEST_SHARE * frames))].mean()), ROUNDING_POWER)
    spoken = np.repeat(speech >= vad.SPEECH, round(vad.FRAME_S * rate_hz))[: len(samples)]
    signal = float(power[: len(spoken)][spoken].mean() if spoken.any() else power.mean()) - noise
    return max(LOWEST_SNR_DB, 10 * float(np.log10(max(signal, 1e-12) / noise)))
