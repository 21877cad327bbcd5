"""Sounds that the tests make themselves: a voiced, speech-like wave with pauses, and files of it."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile


def voice(duration_s: float = 1.0, rate_hz: int = 24_000, pitch_hz: float = 120.0, level: float = 0.2):
    """(T,) float32: ten harmonics in syllables of a quarter second; another pitch is another speaker."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    wave = sum(np.sin(2 * np.pi * pitch_hz * k * time_s + k) / k for k in range(1, 11))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time_s)
    return (level * syllables * wave / np.abs(wave).max()).astype(np.float32)


def save(path: Path, samples: np.ndarray, rate_hz: int = 24_000, **options) -> Path:
    """Write samples (T,) or (T, C) in any format of libsndfile, whatever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, **{"format": path.suffix[1:].upper(), **options})
    return path


def encode(samples: np.ndarray, rate_hz: int, container: str, codec: str, **options) -> bytes:
    """Samples (T,) in a format of FFmpeg's.

    options: bit_rate; muxer: options of the container; encoder: those of the codec.
    """
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options.get("muxer", {})) as writer:
        stream = writer.add_stream(codec, rate=rate_hz, layout="mono", options=options.get("encoder", {}))
        stream.bit_rate = options.get("bit_rate", 64_000)
        stream.codec_context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            writer.mux(packet)
    return out.getvalue()
