"""Audio: samples (T,) float32, one channel, full scale 1.0, beside their rate_hz.

Reading trusts no header: what a file claims is held against its bytes and against what decodes, in both
directions. All sound is kept, also where the header claims less than there is; a cut, forged or poisoned
file is a ClipError with a stable code and never a silently shortened clip.

libsndfile decodes WAV, FLAC and Ogg; FFmpeg decodes MP3 and all others (ffmpeg.py).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from sotaque import containers, ffmpeg, files
from sotaque.containers import Stream
from sotaque.errors import ClipError

_WAV, _FLAC, _OGG = (".wav",), (".flac",), (".ogg", ".oga", ".opus")
_LIBSNDFILE = {"WAV": _WAV, "WAVEX": _WAV, "RF64": _WAV, "FLAC": _FLAC, "OGG": _OGG}
# What is read, and the suffixes that it has.
CONTAINERS = _LIBSNDFILE | {
    "MP3": (".mp3", ".mp2", ".mpga"),
    "MP4": (".m4a", ".mp4", ".m4b", ".m4v", ".mov", ".3gp", ".3g2"),
    "AAC": (".aac",),
    "MATROSKA": (".webm", ".mka", ".mkv"),
    "ASF": (".wma", ".wmv", ".asf"),
    "AMR": (".amr", ".awb"),
    "AIFF": (".aiff", ".aif", ".aifc"),
    "CAF": (".caf",),
    "AU": (".au", ".snd"),
    "W64": (".w64",),
    "NIST": (".sph", ".wav"),
}
SUFFIXES = tuple(dict.fromkeys(suffix for suffixes in CONTAINERS.values() for suffix in suffixes))
MAX_CHANNELS = 8
MAX_S = 600.0
MAX_BYTES = 256 * 2**20
RATES_HZ = (4_000, 384_000)
OVERSHOOT_S = 0.5
WHOLE_WITHIN_S = 0.1
_ANTI_PHASE_SHARE = 0.01
_MIN_BITS_PER_S = 4_000  # of speech, in any format
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
    """Read and check the header; of start_s to end_s only where they are given.

    Frames are counted and not decoded, but for a file up to MAX_S that only FFmpeg reads (m4a, webm, ...).

    Raises ClipError: missing, empty, unreadable, format, truncated, channels, rate, segment, too-large,
    too-long.
    """
    with _checked(path, start_s, end_s, is_exact=True) as (_, header):
        return header


def read(path: Path, start_s: float = 0.0, end_s: float | None = None) -> tuple[np.ndarray, int]:
    """Decode a clip, or a piece of a recording, and mix it to one channel: samples (T,) float32 and rate_hz.

    Raises ClipError: those of read_header, and truncated, unreadable, not-finite, anti-phase.
    """
    with _checked(path, start_s, end_s) as (source, header):
        return _decoded(source, header), header.rate_hz


def read_around(
    path: Path, start_s: float, end_s: float | None, around_s: float
) -> tuple[np.ndarray, int, int, int]:
    """A piece of a recording with around_s on either side, where there is so much.

    Samples (T,) float32, rate_hz, and where in them the piece begins and ends. Raises ClipError as `read`.
    """
    with _checked(path, start_s, end_s) as (source, piece):
        around = round(around_s * piece.rate_hz)
        first, end = max(0, piece.first - around), min(source.frames, piece.first + piece.frames + around)
        samples = _decoded(source, replace(piece, first=first, frames=end - first))
    last = min(piece.first + piece.frames - first, len(samples))
    return samples, piece.rate_hz, piece.first - first, last


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


class _Source(Protocol):
    """An opened file: what it holds, all streams of it together."""

    container: str
    channels: int
    rate_hz: int
    frames: int

    def read(self, first: int, frames: int | None, limits: ffmpeg.Limits) -> np.ndarray:
        """Samples (T, C), float32 or int16, from `first` on; frames: T, or None for all that there are."""


class _LibsndfileSource:
    """A file that libsndfile decodes; several streams end to end are one recording."""

    def __init__(self, path: Path, streams: list[Stream], stack: contextlib.ExitStack):
        self._streams = streams
        if streams == [Stream(0, path.stat().st_size)] and files.is_utf8(path.as_posix()):
            self._sounds = [stack.enter_context(soundfile.SoundFile(path))]
        else:
            descriptor = os.open(path, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            views = [containers.View(descriptor, stream) for stream in streams]
            self._sounds = [stack.enter_context(soundfile.SoundFile(view)) for view in views]
        first = self._sounds[0]
        self.container, self.channels, self.rate_hz = first.format, first.channels, first.samplerate
        self.frames = sum(sound.frames for sound in self._sounds)
        for sound in self._sounds[1:]:
            if sound.samplerate != self.rate_hz:
                raise ClipError("rate", f"its rate changes from {self.rate_hz} to {sound.samplerate} Hz")
            if sound.channels != self.channels:
                found = sound.channels
                raise ClipError("channels", f"their number changes from {self.channels} to {found}")

    def check_ogg(self, data: mmap.mmap) -> None:
        for stream, sound in zip(self._streams, self._sounds, strict=True):
            containers.check_ogg(data, stream, sound.frames, self.rate_hz)

    def read(self, first: int, frames: int | None, limits: ffmpeg.Limits) -> np.ndarray:
        end = self.frames if frames is None else first + frames
        kind = np.int16 if all(sound.subtype == "PCM_16" for sound in self._sounds) else np.float32
        samples = np.empty((end - first, self.channels), dtype=kind)
        begin = found = 0
        for sound in self._sounds:
            low, high = max(first, begin), min(end, begin + sound.frames)
            if low < high:
                if low > begin:
                    sound.seek(low - begin)
                found += len(sound.read(out=samples[low - first : high - first], dtype=kind.__name__))
            begin += sound.frames
        if found != len(samples):
            raise ClipError("truncated", f"the header claims {len(samples)} samples, {found} can be decoded")
        return samples


@contextlib.contextmanager
def _checked(
    path: Path, start_s: float, end_s: float | None, is_exact: bool = False
) -> Iterator[tuple[_Source, Header]]:
    """The opened file, and the header of what is wanted of it; see read_header.

    is_exact: whether to count by decoding what nothing but that can count; so it is for a piece.
    """
    _check_file(path)
    with contextlib.ExitStack() as stack:
        source = _open(path, stack)
        is_piece = (start_s, end_s) != (0.0, None)
        if (is_exact or is_piece) and isinstance(source, ffmpeg.Recording):
            source.count(ffmpeg.Limits(MAX_S, MAX_BYTES))
        header = Header(source.container, source.frames, source.channels, source.rate_hz)
        _check_format(header)
        if is_piece:
            header = _piece(header, start_s, end_s)
        _check_length(header, path.stat().st_size)
        if header.frames == 0:
            raise ClipError("empty", "the header is there, but no sound follows it")
        yield source, header


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise ClipError("missing", f"cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise ClipError("missing", "is not a regular file")
    if status.st_size == 0:
        raise ClipError("empty", "the file has 0 bytes")


def _open(path: Path, stack: contextlib.ExitStack) -> _Source:
    """The file with the decoder that its bytes ask for; see read_header for what is raised."""
    try:
        with containers.map_file(path) as data:
            start = bytes(data[:16])
            streams = containers.find_streams(data)
            if streams:
                source = _LibsndfileSource(path, streams, stack)
                source.check_ogg(data)
                return source
        status = path.stat()
        mpeg = containers.read_mpeg(path, status.st_size, status.st_mtime_ns)
        if mpeg:
            return ffmpeg.MpegAudio(path, mpeg)
        containers.check_sizes(path)
        return ffmpeg.Recording(path)
    except (RuntimeError, TypeError) as error:
        reason = _words(error)
    except OSError as error:
        raise ClipError("missing", f"cannot be opened ({error.strerror})") from None
    except ClipError as error:
        if error.code != "unreadable":
            raise
        reason = error.reason
        _check_known(path)
    raise ClipError(
        "unreadable", f"it cannot be read as audio: {reason.rstrip('.')}. It starts with {start!r}"
    )


def _check_known(path: Path) -> None:
    """Raise ClipError "format" for what is sound and cannot be read whole for certain."""
    with contextlib.suppress(RuntimeError, TypeError), soundfile.SoundFile(path) as sound:
        if sound.format not in CONTAINERS:
            allowed = ", ".join(CONTAINERS)
            raise ClipError("format", f"its container is {sound.format}, read are {allowed}")


def _decoded(source: _Source, header: Header) -> np.ndarray:
    """The samples (T,) that a header speaks of, one channel."""
    reaches_end = header.first + header.frames >= source.frames
    wanted = None if reaches_end else header.frames
    try:
        channels = source.read(header.first, wanted, ffmpeg.Limits(MAX_S, MAX_BYTES))
    except RuntimeError as error:
        raise ClipError("unreadable", f"decoding fails: {_words(error)}") from None
    if not len(channels):
        raise ClipError("empty", "the header is there, but no sound follows it")
    if channels.dtype == np.int16:  # the values that libsndfile would make of them, in a third of the time
        channels = np.multiply(channels, np.float32(2**-15), dtype=np.float32)
    if not np.isfinite(channels).all():
        raise ClipError("not-finite", "some samples are NaN or infinite")
    return to_mono(channels)


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


def _check_length(header: Header, size: int) -> None:
    """size: of the file in bytes. It bounds the duration, whatever the header claims."""
    duration_s = min(header.duration_s, 8 * size / _MIN_BITS_PER_S)
    if header.duration_s > MAX_S:
        found = f"it claims {header.duration_s:.0f} s, the limit is {MAX_S:.0f} s"
        raise ClipError("too-long", found, duration_s)
    if header.frames * header.channels * 4 > MAX_BYTES:
        found = (
            f"it claims {header.frames} x {header.channels} samples, over {MAX_BYTES // 2**20} MiB decoded"
        )
        raise ClipError("too-large", found, duration_s)
