"""Decode with FFmpeg's libraries (PyAV) what libsndfile cannot read, or reads badly.

`containers` finds MP3 frames, so that no header's count is believed; they are decoded here. All other formats
are read by FFmpeg's own readers. Those that open further files or the network (playlists, lists of parts)
are shut out. FFmpeg starts no threads here: the sandbox limits memory and time of one process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sotaque import containers
from sotaque.containers import Mpeg, MpegStream
from sotaque.errors import ClipError

if TYPE_CHECKING:
    import av

# FFmpeg's name of a format -> our name, and to how many seconds the duration in its header is right, where it
# has one: some programs count the encoder's delay and padding.
FORMATS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("MP4", 0.1),
    "matroska,webm": ("MATROSKA", 0.1),
    "asf": ("ASF", 0.1),
    "aac": ("AAC", None),
    "amr": ("AMR", None),
    "aiff": ("AIFF", 0.001),
    "caf": ("CAF", 0.001),
    "au": ("AU", 0.001),
    "w64": ("W64", 0.001),
    "nistsphere": ("NIST", 0.001),
}
_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": ""}
# Codecs of which FFmpeg cuts off more than delay and padding: ALAC's end twice, WMA's start too far.
_UNTRIMMED = ("alac", "wmav1", "wmav2")
_PREROLL_S = 0.5  # decoded before a piece, so that the decoder has all that the piece depends on
_PREROLL_FRAMES = 24
_ENDS_WITHIN_S = 0.1
# What FFmpeg's readers write to their log about a damaged file, and report nowhere else.
_DAMAGE = ("ended prematurely", "exceeds containing master", "duplicated MOOV")


@dataclass(frozen=True)
class Limits:
    """The most that may be decoded: seconds, and bytes of float32."""

    max_s: float
    max_bytes: int

    def check(self, frames: int, channels: int, rate_hz: int) -> None:
        """Raises ClipError too-long or too-large: a file can hold far more than it claims."""
        if frames > self.max_s * rate_hz:
            raise ClipError("too-long", f"it lasts over {self.max_s:.0f} s, which is the limit")
        if frames * channels * 4 > self.max_bytes:
            raise ClipError("too-large", f"it takes over {self.max_bytes // 2**20} MiB decoded")


# --- MP3


class MpegAudio:
    """An MP3 file, or several end to end: each stream is decoded by itself, without its delay and padding."""

    container = "MP3"

    def __init__(self, path: Path, mpeg: Mpeg):
        self._path, self._mpeg = path, mpeg
        self.channels, self.rate_hz = mpeg.channels, mpeg.rate_hz
        self.frames = sum(map(mpeg.samples_of, mpeg.streams))

    def read(self, first: int, frames: int | None, limits: Limits) -> np.ndarray:
        """Samples (T, C) float32 from `first` on; frames: T, None for all."""
        end = self.frames if frames is None else first + frames
        limits.check(end - first, self.channels, self.rate_hz)
        parts = [np.empty((0, self.channels), dtype=np.float32)]
        begin = 0
        with containers.map_file(self._path) as data:
            for stream in self._mpeg.streams:
                length = self._mpeg.samples_of(stream)
                low, high = max(first, begin), min(end, begin + length)
                if low < high:
                    parts.append(self._decode(data, stream, low - begin, high - begin))
                begin += length
        return parts[-1] if len(parts) <= 2 else np.concatenate(parts)

    def _decode(self, data: Any, stream: MpegStream, low: int, high: int) -> np.ndarray:
        """Samples low to high of a stream, which begin behind its delay."""
        size = self._mpeg.frame_samples
        low, high = low + stream.skipped, high + stream.skipped
        needed = stream.first + low // size
        start = max(stream.first, needed - _PREROLL_FRAMES)
        stop = min(stream.end, stream.first + -(-high // size))
        samples = np.zeros(((stop - start) * size, self.channels), dtype=np.float32)
        starts, lengths = self._mpeg.starts[start:stop].tolist(), self._mpeg.lengths[start:stop].tolist()
        decoder = self._make_decoder()
        for index, (at, length) in enumerate(zip(starts, lengths, strict=True), start):
            place = samples[(index - start) * size : (index - start + 1) * size]
            is_decoded = _decode_frame(decoder, data[at : at + length], place)
            if not is_decoded and index >= max(needed, stream.first + _PREROLL_FRAMES):
                at_s = index * size / self.rate_hz
                raise ClipError("unreadable", f"decoding fails: the MP3 frame at {at_s:.3f} s is damaged")
        offset = (start - stream.first) * size
        return samples[low - offset : high - offset]

    def _make_decoder(self) -> av.AudioCodecContext:
        import av

        decoder = av.CodecContext.create(f"mp{self._mpeg.layer}float", "r")
        decoder.thread_count = 1
        return decoder


def _decode_frame(decoder: av.AudioCodecContext, content: bytes, place: np.ndarray) -> bool:
    """Fill place (T, C); False where the frame is damaged, or refers to one that is not there."""
    import av

    try:
        frames = decoder.decode(av.Packet(content))
    except av.error.InvalidDataError:
        return False
    if len(frames) != 1 or frames[0].samples != len(place):
        return False
    samples = [np.frombuffer(plane, dtype=np.float32, count=len(place)) for plane in frames[0].planes]
    # A frame of one channel in a file of two sounds on both, as players have it.
    if len(samples) != place.shape[1]:
        samples = [sum(samples) / len(samples)] * place.shape[1]
    for channel, values in enumerate(samples):
        place[:, channel] = values
    return True


# --- all other formats

_Run = tuple[Fraction | None, np.ndarray]  # the time in s of the first of some samples (T, C)


@dataclass(frozen=True)
class _Contents:
    """frames: samples per channel, by the packets' times. origin_s: the time of the first of them.

    claimed_s: what the header says; 0.0 where it says nothing.
    """

    container: str
    channels: int
    rate_hz: int
    frames: int
    origin_s: float
    claimed_s: float

    def check_claim(self, frames: int) -> None:
        """Raises ClipError "truncated" where fewer are decoded than the header claims."""
        found_s = frames / self.rate_hz
        if found_s < self.claimed_s:
            raise ClipError("truncated", f"it claims {self.claimed_s:.3f} s, {found_s:.3f} s can be decoded")


class Recording:
    """The first track of sound of a file that FFmpeg reads; frames: by the packets' times."""

    def __init__(self, path: Path):
        status = path.stat()
        self._path = path
        self._key = path, status.st_size, status.st_mtime_ns
        self._contents = _scan(*self._key)
        self.container, self.frames = self._contents.container, self._contents.frames
        self.channels, self.rate_hz = self._contents.channels, self._contents.rate_hz

    def count(self, limits: Limits) -> None:
        """Set `frames` by decoding them, unless there are more than may be. Raises ClipError as `read`."""
        if self.frames <= limits.max_s * self.rate_hz:
            self.frames = _count(*self._key, limits)

    def read(self, first: int, frames: int | None, limits: Limits) -> np.ndarray:
        """Samples (T, C) float32 from `first` on; frames: T, or None for all that there are.

        Raises ClipError truncated, unreadable, rate, channels, too-long, too-large.
        """
        with _open(self._path) as (container, stream):
            if first:
                start_s = max(0.0, first / self.rate_hz - _PREROLL_S) + self._contents.origin_s
                container.seek(int(start_s / stream.time_base), stream=stream)
            samples = self._collect(_decode(container, stream, self._contents), first, frames, limits)
        if frames is None:
            self._contents.check_claim(first + len(samples))
        elif len(samples) < frames - _ENDS_WITHIN_S * self.rate_hz:
            end_s = (first + len(samples)) / self.rate_hz
            raise ClipError(
                "truncated", f"it claims {self.frames / self.rate_hz:.3f} s, it ends at {end_s:.3f} s"
            )
        return samples

    def _collect(
        self,
        decoded: Iterator[_Run],
        first: int,
        frames: int | None,
        limits: Limits,
    ) -> np.ndarray:
        parts: list[np.ndarray] = []
        position, total = 0 if first == 0 else None, 0
        for time, samples in decoded:
            if position is None:
                if time is None:
                    raise ClipError(
                        "segment", f"{self.container} says no times, so no piece of it can be found"
                    )
                position = round((float(time) - self._contents.origin_s) * self.rate_hz)
            wanted = samples[max(0, first - position) :]
            wanted = wanted if frames is None else wanted[: frames - total]
            position += len(samples)
            if len(wanted):
                total += len(wanted)
                limits.check(total, self.channels, self.rate_hz)
                parts.append(wanted)
            if total == frames:
                break
        return np.concatenate(parts) if parts else np.empty((0, self.channels), dtype=np.float32)


@functools.lru_cache(maxsize=4)
def _scan(path: Path, size: int, modified_ns: int) -> _Contents:
    """Go through a file without decoding more than its beginning. Kept for the pieces of a recording.

    Raises ClipError truncated, unreadable.
    """
    with _open(path) as (container, stream):
        name, within_s = FORMATS[container.format.name]
        claimed_s = 0.0
        if within_s is not None and stream.duration:
            claimed_s = float(stream.duration * stream.time_base) - within_s
        elif within_s is not None and container.duration and len(container.streams) == 1:
            claimed_s = container.duration / 1e6 - within_s
        length_s, first, begin_s = Fraction(0), None, None
        for packet in _demux(container, stream):
            if begin_s is None and packet.pts is not None:
                begin_s = packet.pts * stream.time_base
            length_s += (packet.duration or 0) * stream.time_base
            if first is None:
                first = next(iter(packet.decode()), None)
        if first is None:
            raise ClipError("unreadable", f"no sound of this {name} file can be decoded")
        begin_s = begin_s or Fraction(0)
        origin_s = begin_s if first.pts is None else first.pts * first.time_base
        rate_hz, channels = first.sample_rate, first.layout.nb_channels
        duration_s = float(length_s - origin_s + begin_s) if length_s else claimed_s
        frames = max(1, round(duration_s * rate_hz))
        return _Contents(name, channels, rate_hz, frames, float(origin_s), max(0.0, claimed_s))


@functools.lru_cache(maxsize=4)
def _count(path: Path, size: int, modified_ns: int, limits: Limits) -> int:
    """Samples per channel, by decoding all of them. Raises ClipError as Recording.read."""
    contents = _scan(path, size, modified_ns)
    frames = 0
    with _open(path) as (container, stream):
        for frame in _decode_frames(container, stream, contents):
            frames += frame.samples
            limits.check(frames, contents.channels, contents.rate_hz)
    contents.check_claim(frames)
    return frames


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file, and its first track of sound.

    Raises ClipError "unreadable" where FFmpeg cannot open it or cannot decode on, "truncated" where its log
    says that the file ends early.
    """
    import av

    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as log, path.open("rb", buffering=0) as file:
            try:
                with av.open(file, options=_OPTIONS, metadata_errors="ignore") as container:
                    stream = next(iter(container.streams.audio), None)
                    if stream is None or stream.codec_context is None:
                        raise ClipError("unreadable", "there is no track of sound in it that can be decoded")
                    stream.codec_context.thread_count = 1
                    if stream.codec_context.name in _UNTRIMMED:
                        stream.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
                    yield container, stream
            except av.error.MemoryError:
                raise MemoryError from None
            except av.error.FFmpegError as error:
                raise ClipError("unreadable", f"FFmpeg says: {error.strerror}") from None
            except OSError as error:  # a reader that looks for a place before the file
                raise ClipError("unreadable", f"FFmpeg cannot read on: {error.strerror}") from None
            finally:
                _check_log(log)
    finally:
        av.logging.set_level(None)


def _check_log(log: list[tuple[int, str, str]]) -> None:
    for _, _, message in log:
        if any(words in message for words in _DAMAGE):
            raise ClipError("truncated", f"FFmpeg says: {message.strip()}")


def _demux(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise ClipError("truncated", "its last packet is cut")
        yield packet


def _decode_frames(container: Any, stream: Any, contents: _Contents) -> Iterator[Any]:
    """Raises ClipError unreadable, rate, channels."""
    import av

    done = 0
    for packet in _demux(container, stream):
        try:
            frames = packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            at_s = done / contents.rate_hz
            raise ClipError("unreadable", f"decoding fails after {at_s:.3f} s: {error.strerror}") from None
        for frame in frames:
            if frame.sample_rate != contents.rate_hz:
                raise ClipError("rate", f"its rate changes from {contents.rate_hz} to {frame.sample_rate} Hz")
            if frame.layout.nb_channels != contents.channels:
                found = frame.layout.nb_channels
                raise ClipError("channels", f"their number changes from {contents.channels} to {found}")
            done += frame.samples
            yield frame


def _decode(container: Any, stream: Any, contents: _Contents) -> Iterator[_Run]:
    for frame in _decode_frames(container, stream, contents):
        yield None if frame.pts is None else frame.pts * frame.time_base, _to_samples(frame)


def _to_samples(frame: Any) -> np.ndarray:
    """(T, C) float32 at full scale 1.0."""
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples.astype(np.float32, copy=False)
