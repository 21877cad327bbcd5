"""What an audio file's container claims, against what is there: libsndfile lets a cut file pass."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from sotaque.errors import ClipError

_MAX_CHUNKS = 1000
_OGG_PAGE_BYTES = 65_307  # the most
_OGG_WITHIN_S = 0.02


def check_size(path: Path, size: int, frames: int, rate_hz: int) -> None:
    """size: of the file, in bytes; frames: samples per channel that libsndfile found in it.

    Raises ClipError "truncated": it is shorter than its header, or its last page, claims.
    """
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic == b"OggS":
            _check_ogg(stream, size, frames, rate_hz)
        elif magic in (b"RIFF", b"RF64", b"RIFX"):
            end = _wav_end(stream, ">" if magic == b"RIFX" else "<")
            if end > size:
                raise ClipError("truncated", f"the header claims {end} bytes, the file has {size}")


def _check_ogg(stream: BinaryIO, size: int, frames: int, rate_hz: int) -> None:
    """The last page (RFC 3533, 6) ends the stream, and counts no more samples than were found.

    Those of Opus (RFC 7845, 4) are of 48 kHz, and the first of them, as its head says, are no sound.
    """
    stream.seek(28)
    head = stream.read(12)
    unit_hz, skipped = (
        (48_000, struct.unpack("<H", head[10:])[0]) if head[:8] == b"OpusHead" else (rate_hz, 0)
    )
    stream.seek(max(0, size - _OGG_PAGE_BYTES))
    tail = stream.read(_OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise ClipError("truncated", "its last page is not marked as the last, or is cut")
    claimed_s = (struct.unpack("<q", page[6:14])[0] - skipped) / unit_hz
    if frames / rate_hz < claimed_s - _OGG_WITHIN_S:
        raise ClipError("truncated", f"it claims {claimed_s:.3f} s, {frames / rate_hz:.3f} s can be decoded")


def _wav_end(stream: BinaryIO, order: str) -> int:
    """The byte at which the data chunk ends by its own header, 0 when none is found."""
    position, long_size = 12, 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        name = stream.read(8)
        if len(name) < 8:
            return 0
        length = struct.unpack(order + "I", name[4:])[0]
        if name[:4] == b"ds64":
            long_size = struct.unpack(order + "QQ", stream.read(16).ljust(16, b"\0"))[1]
        elif name[:4] == b"data":
            return position + 8 + (long_size or length)
        position += 8 + length + length % 2
    return 0
