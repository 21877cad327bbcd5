"""Audio: samples (T,) float32, one channel, full scale 1.0, beside their rate_hz.

Reading trusts no header: what a file claims is held against its size and against what decodes, so that
a cut, forged or poisoned file is a ClipError with a stable code and never a silently shortened clip.
"""

from __future__ import annotations

import contextlib
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from sotaque import containers, files
from sotaque.errors import ClipError

WAV, FLAC, MP3, OGG = (".wav",), (".flac",), (".mp3",), (".ogg", ".oga", ".opus")
CONTAINERS = {"WAV": WAV, "WAVEX": WAV, "RF64": WAV, "FLAC": FLAC, "MP3": MP3, "OGG": OGG}
MAX_CHANNELS = 8
MAX_S = 600.0
MAX_BYTES = 256 * 2**20
RATES_HZ = (4_000, 384_000)
OVERSHOOT_S = 0.5
WHOLE_WITHIN_S = 0.1
_ANTI_PHASE_SHARE = 0.01
_WAV_HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, one chunk of format, one of data


@dataclass(frozen=True)
class Header:
    """What a file says of itself, or of a piece of it.

    frames: samples per channel. first: where in the file the piece begins, in samples.
    piece: whether there is more in the file.
    """

    container: str
    frames: int
    channels: int
    rate_hz: int
    first: int = 0
    piece: bool = False

    @property
    def duration_s(self) -> float:
        return self.frames / self.rate_hz


def read_header(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Header:
    """Read and check the header, without decoding; of start_s to end_s only where they are given.

    Raises ClipError: missing, empty, unreadable, format, truncated, channels, rate, segment, too-large,
    too-long.
    """
    with _checked(path, start_s, end_s) as (_, header):
        return header


def read(path: Path, start_s: float = 0.0, end_s: float | None = None) -> tuple[np.ndarray, int]:
    """Decode a clip, or a piece of a recording, and mix it to one channel: samples (T,) float32 and rate_hz.

    Raises ClipError: those of read_header, and truncated, unreadable, not-finite, anti-phase.
    """
    with _checked(path, start_s, end_s) as (stream, header):
        return _decoded(stream, header), header.rate_hz


def read_around(
    path: Path, start_s: float, end_s: float | None, around_s: float
) -> tuple[np.ndarray, int, int, int]:
    """A piece of a recording with around_s on either side, where there is so much.

    Samples (T,) float32, rate_hz, and where in them the piece begins and ends. Raises ClipError as `read`.
    """
    with _checked(path, start_s, end_s) as (stream, piece):
        around = round(around_s * piece.rate_hz)
        first, end = max(0, piece.first - around), min(stream.frames, piece.first + piece.frames + around)
        samples = _decoded(stream, replace(piece, first=first, frames=end - first))
    return samples, piece.rate_hz, piece.first - first, piece.first + piece.frames - first


def to_mono(channels: np.ndarray) -> np.ndarray:
    """The mean of the channels: (T, C) -> (T,).

    Raises ClipError "anti-phase" when the channels cancel: mixed power under 1 % of theirs.
    """
    if channels.shape[1] == 1:
        return channels[:, 0]
    mono = channels.mean(axis=1, dtype=np.float32)
    if _power(mono[:, None]) < _ANTI_PHASE_SHARE * _power(channels):
        raise ClipError("anti-phase", f"its {channels.shape[1]} channels cancel when they are mixed")
    return mono


def _power(channels: np.ndarray) -> float:
    """The mean square of (T, C), without a copy in float64: a clip's memory is limited."""
    return float(np.einsum("tc,tc->", channels, channels, dtype=np.float64)) / channels.size


def resample(samples: np.ndarray, rate_hz: int, to_hz: int) -> np.ndarray:
    """soxr HQ: (T,) -> (T * to_hz / rate_hz,)."""
    import soxr

    return samples if rate_hz == to_hz else soxr.resample(samples, rate_hz, to_hz, quality="HQ")


def high_pass(samples: np.ndarray, rate_hz: int, from_hz: float) -> np.ndarray:
    """Samples (T,) through a Butterworth filter of fourth order: 3 dB less at from_hz, 24 an octave below."""
    from scipy.signal import butter, sosfilt

    sections = butter(4, from_hz, "highpass", fs=rate_hz, output="sos")
    return sosfilt(sections, samples.astype(np.float64)).astype(np.float32)


def encoded(samples: np.ndarray, rate_hz: int) -> bytes:
    """Samples (T,) as the bytes of a 16-bit mono WAV; equal samples give equal bytes (no dither).

    Samples beyond full scale are clipped: the caller sets the level. Raises ClipError "not-finite".
    """
    scaled = samples * np.float32(2**15)  # exact: only the exponent changes
    low, high = scaled.min(initial=0.0), scaled.max(initial=0.0)
    if not np.isfinite(high - low):
        raise ClipError("not-finite", "refusing to write NaN or infinite samples")
    np.rint(scaled, out=scaled)
    if low < -(2**15) or high > 2**15 - 1:
        np.clip(scaled, -(2**15), 2**15 - 1, out=scaled)
    integers = scaled.astype("<i2")
    size = integers.nbytes
    head = (b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", size)
    return _WAV_HEAD.pack(*head) + integers.tobytes()


def write(path: Path, samples: np.ndarray, rate_hz: int) -> None:
    """Write `encoded` samples atomically."""
    files.write_bytes(path, encoded(samples, rate_hz))


def load_libraries(high_pass: bool = False) -> None:
    """Import now what the functions above import when first called, so that a forked worker need not."""
    import soxr  # noqa: F401

    if high_pass:
        import scipy.signal  # noqa: F401


@contextlib.contextmanager
def _checked(path: Path, start_s: float, end_s: float | None) -> Iterator[tuple[soundfile.SoundFile, Header]]:
    """The opened file, and the header of what is wanted of it; see read_header."""
    size = _size(path)
    with _opened(path) as stream:
        header = Header(stream.format, stream.frames, stream.channels, stream.samplerate)
        _check_format(header)
        if (start_s, end_s) != (0.0, None):
            header = _piece(header, start_s, end_s)
        _check_length(header)
        containers.check_size(path, size, stream.frames, stream.samplerate)
        if header.frames == 0:
            raise ClipError("empty", "the header is there, but no sound follows it")
        yield stream, header


def _size(path: Path) -> int:
    """In bytes."""
    try:
        status = path.stat()
    except OSError as error:
        raise ClipError("missing", f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise ClipError("missing", "is not a regular file")
    if status.st_size == 0:
        raise ClipError("empty", "the file has 0 bytes")
    return status.st_size


def _decoded(stream: soundfile.SoundFile, header: Header) -> np.ndarray:
    """The samples (T,) that a header speaks of, one channel."""
    kind = np.int16 if stream.subtype == "PCM_16" else np.float32
    channels = np.empty((header.frames, header.channels), dtype=kind)
    try:
        if header.piece:
            stream.seek(header.first)
        frames = len(stream.read(out=channels, dtype=kind.__name__))
    except RuntimeError as error:
        raise ClipError("unreadable", f"decoding fails: {_words(error)}") from None
    if frames != header.frames:
        raise ClipError("truncated", f"the header claims {header.frames} samples, {frames} can be decoded")
    if kind is np.int16:  # the values that libsndfile would make of them, in a third of the time
        channels = np.multiply(channels, np.float32(2**-15), dtype=np.float32)
    if not np.isfinite(channels).all():
        raise ClipError("not-finite", "some samples are NaN or infinite")
    return to_mono(channels)


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except (RuntimeError, TypeError) as error:
        with path.open("rb") as stream:
            start = stream.read(16)
        raise ClipError("unreadable", f"not audio: {_words(error)} It starts with {start!r}") from None
    except OSError as error:
        raise ClipError("missing", f"cannot be opened ({error.strerror})") from None


def _words(error: Exception) -> str:
    return getattr(error, "error_string", str(error))


def _piece(header: Header, start_s: float, end_s: float | None) -> Header:
    """From start_s to end_s; an end up to 0.5 s beyond the last sample is the last (as Kaldi has it).

    Nearly all of a recording, to 0.1 s, is all of it: listings round durations.
    """
    whole_s = header.duration_s
    until_s = whole_s if end_s is None else end_s
    if not 0 <= start_s < min(until_s, whole_s) or not until_s <= whole_s + OVERSHOOT_S:
        raise ClipError(
            "segment", f"{start_s} s to {until_s} s is no piece of a recording that lasts {whole_s:.3f} s"
        )
    if start_s == 0 and until_s > whole_s - WHOLE_WITHIN_S:
        return header
    first = round(start_s * header.rate_hz)
    frames = min(round(until_s * header.rate_hz), header.frames) - first
    return replace(header, frames=frames, first=first, piece=True)


def _check_format(header: Header) -> None:
    if header.container not in CONTAINERS:
        raise ClipError("format", f"its container is {header.container}, read are {', '.join(CONTAINERS)}")
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise ClipError("channels", f"{header.channels} channels, allowed: 1 to {MAX_CHANNELS}")
    if not RATES_HZ[0] <= header.rate_hz <= RATES_HZ[1]:
        raise ClipError("rate", f"{header.rate_hz} Hz, allowed: {RATES_HZ[0]} to {RATES_HZ[1]}")


def _check_length(header: Header) -> None:
    if header.duration_s > MAX_S:
        raise ClipError("too-long", f"it claims {header.duration_s:.0f} s, the limit is {MAX_S:.0f} s")
    if header.frames * header.channels * 4 > MAX_BYTES:
        raise ClipError(
            "too-large",
            f"it claims {header.frames} x {header.channels} samples, over {MAX_BYTES // 2**20} MiB decoded",
        )
