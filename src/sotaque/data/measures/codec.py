"""What the model's codec loses of a clip: the distance between a wave and its round trip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sotaque import audio
from sotaque.backends.protocol import Reference
from sotaque.manifest import Utterance
from sotaque.progress import track

if TYPE_CHECKING:
    from sotaque.backends.protocol import Backend

BANDS = 80
WINDOW_SAMPLES = 1024
HOP_SAMPLES = 256
FLOOR_DB = -80.0
SEED = 0  # of codecs whose decoder draws noise


def distances_db(utterances: list[Utterance], backend: Backend, label: str) -> dict[str, float]:
    """id -> distance, clip by clip."""
    found = {}
    for utterance in track(utterances, label):
        wave, rate_hz = audio.read(Path(utterance.audio))
        [codes] = backend.encode([audio.resample(wave, rate_hz, backend.sample_rate_hz)])
        itself = Reference(utterance.text, Path(utterance.audio), codes)
        back = backend.decode(codes, SEED, itself)
        back = audio.resample(back, backend.codec_rate_hz, rate_hz)
        found[utterance.id] = distance_db(wave, back, rate_hz)
    return found


def distance_db(wave: np.ndarray, back: np.ndarray, rate_hz: int) -> float:
    """Mean |difference| of the log-mel spectra (80 bands, Hann windows of 1024 samples every 256), in dB.

    Both waves (T,) are cut to the shorter one; levels under -80 dB of the wave's loudest band count as that.
    """
    length = min(len(wave), len(back))
    mels = [_mel(x[:length], rate_hz) for x in (wave, back)]
    floor = mels[0].max() * 10 ** (FLOOR_DB / 20)
    levels_db = [20 * np.log10(np.maximum(mel, max(floor, 1e-9))) for mel in mels]
    return float(np.abs(levels_db[0] - levels_db[1]).mean())


def _mel(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """(T,) -> magnitudes (80, frames)"""
    import librosa

    return librosa.feature.melspectrogram(
        y=wave, sr=rate_hz, n_fft=WINDOW_SAMPLES, hop_length=HOP_SAMPLES, n_mels=BANDS, power=1.0
    )
