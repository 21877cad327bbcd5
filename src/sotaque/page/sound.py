"""A clip on a page: a player with the samples as they are, and a picture of them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio
from sotaque.page import spectrogram


def read(path: Path) -> tuple[np.ndarray, int] | None:
    return audio.read(path) if path.exists() else None


def player(wave: tuple[np.ndarray, int] | None, longest_s: float) -> dict[str, Any]:
    """The data URIs of a clip: lossless FLAC and a picture as wide as its share of the longest clip."""
    if wave is None or not len(wave[0]):
        return {"audio": None, "picture": None, "duration_s": 0.0, "width_percent": 0}
    samples, rate_hz = wave
    duration_s = len(samples) / rate_hz
    return {
        "audio": _uri("audio/flac", flac(samples, rate_hz)),
        "picture": _uri("image/png", spectrogram.png(spectrogram.levels(samples, rate_hz))),
        "duration_s": duration_s,
        "width_percent": round(100 * duration_s / longest_s),
    }


def flac(samples: np.ndarray, rate_hz: int) -> bytes:
    """16-bit FLAC, half the bytes of a WAV; samples as they stand in the WAV."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return stream.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
