"""A clip as a small picture: power over time (across) and frequency (up, 0 to 8 kHz), as a PNG."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np

TOP_HZ = 8_000
ROWS = 48
COLUMN_S = 0.02
RANGE_DB = 60.0
LEVELS = 16
# From dark to light, so that it reads on either background and in grey print.
COLORS = np.linspace([18, 12, 44], [255, 236, 170], LEVELS)


def levels(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Samples (T,) -> (ROWS, columns) of 0..15: dB under the loudest point, top frequency first.

    Hann windows of 40 ms every 20 ms; the bins of a row are averaged in power.
    """
    hop = round(COLUMN_S * rate_hz)
    padded = np.pad(samples.astype(np.float64), (hop, hop + -len(samples) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(2 * hop))) ** 2
    bins = min(power.shape[1], round(TOP_HZ / rate_hz * 2 * hop) + 1)
    edges = np.linspace(0, bins, ROWS + 1).astype(int)
    rows = np.stack([power[:, low:high].mean(axis=1) for low, high in itertools.pairwise(edges)])
    relative_db = 10 * np.log10(rows / max(rows.max(), 1e-20) + 1e-12)
    scaled = np.clip(1 + relative_db / RANGE_DB, 0, 1) * (LEVELS - 1)
    return np.rint(scaled).astype(np.uint8)[::-1]


def png(picture: np.ndarray) -> bytes:
    """A PNG (ISO/IEC 15948) of 4-bit palette indices (rows, columns)."""
    height, width = picture.shape
    padded = np.pad(picture, ((0, 0), (0, width % 2)))
    packed = padded[:, ::2] << 4 | padded[:, 1::2]
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    palette = COLORS.round().astype(np.uint8).tobytes()
    chunks = (b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
