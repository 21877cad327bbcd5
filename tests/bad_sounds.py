"""Audio files with a fault, made by hand from the formats' own descriptions."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

from sounds import voice

RATE_HZ = 24_000


def content(samples=None, container: str = "WAV", rate_hz: int = RATE_HZ, **options) -> bytes:
    """A good file as bytes; samples (T,) or (T, C), by default three seconds of a voice."""
    stream = io.BytesIO()
    soundfile.write(stream, voice(3.0) if samples is None else samples, rate_hz, format=container, **options)
    return stream.getvalue()


def cut(whole: bytes, share: float = 0.6) -> bytes:
    return whole[: int(share * len(whole))]


def rotten(whole: bytes) -> bytes:
    """400 bytes in the middle are noise."""
    middle = len(whole) // 2
    noise = np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8).tobytes()
    return whole[:middle] + noise + whole[middle + 400 :]


def wav(claimed: int, data: bytes = bytes(2000), channels=1, rate_hz=RATE_HZ, bits=16) -> bytes:
    """A WAV whose header claims so many bytes of data."""
    return _header(claimed, channels, rate_hz, bits) + data


def _header(claimed: int, channels: int, rate_hz: int, bits: int) -> bytes:
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", (36 + claimed) % 2**32) + b"WAVE" + chunks


def with_info(whole: bytes, claimed: int, inside: int) -> bytes:
    """A WAV with a LIST chunk of comments before its data: the sizes that it and its one comment claim."""
    at = whole.index(b"data")
    chunk = b"LIST" + struct.pack("<I", claimed) + b"INFOISFT" + struct.pack("<I", inside)
    return whole[:at] + chunk + whole[at:]


def zeros(path: Path, frames: int, channels: int = 1, rate_hz: int = RATE_HZ) -> None:
    """A WAV of digital silence that takes no room on the disk."""
    claimed = 2 * frames * channels
    path.write_bytes(_header(claimed, channels, rate_hz, 16))
    with path.open("r+b") as stream:
        stream.truncate(44 + claimed)


def rf64_over_4_gb(path: Path) -> None:
    """An RF64 (EBU Tech 3306) with 5 GB of sound: all zeros, so that it takes no room on the disk."""
    claimed = 5 * 2**30
    sizes = struct.pack("<QQQI", claimed + 72, claimed, claimed // 2, 0)
    ds64 = b"ds64" + struct.pack("<I", len(sizes)) + sizes
    head = _header(0xFFFFFFFF, 1, RATE_HZ, 16)
    path.write_bytes(b"RF64" + b"\xff\xff\xff\xff" + head[8:12] + ds64 + head[12:])
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + claimed)


def flac_claiming(whole: bytes, frames: int) -> bytes:
    """STREAMINFO holds the number of samples in the 36 bits that end at byte 26 (RFC 9639, 8.2)."""
    number = int.from_bytes(whole[18:26], "big")
    return whole[:18] + ((number >> 36 << 36) | frames).to_bytes(8, "big") + whole[26:]
