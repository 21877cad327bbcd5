"""Where the sound lies in a WAV, FLAC, Ogg or MP3 file, told by its bytes and not by its header alone.

libsndfile believes a header that claims less than the file holds, stops after the first of several streams
that lie end to end, and reads a cut WAV or Ogg without an error. So the file is walked here, without
decoding: chunks, pages and frames say where each stream begins and ends. What ends early is a ClipError.
"""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sotaque.errors import ClipError

_MAX_CHUNKS = 1000
_PLACEHOLDER_WITHIN = 8192  # programs that write to a pipe claim about 2^31 or 2^32 bytes
_NO_DS64 = (0, 2**64 - 1)
_AFTER_DATA = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"inst", b"fact", b"PEAK", b"JUNK", b"junk",
    b"PAD ", b"FLLR", b"iXML", b"_PMX", b"afsp", b"DISP", b"acid", b"note", b"labl", b"adtl", b"plst",
    b"axml", b"chna",
)  # fmt: skip
_NEVER_AFTER_DATA = (b"RIFF", b"RF64", b"RIFX", b"FORM", b"data")
_OGG_PAGE_BYTES = 65_307  # the most
_OGG_WITHIN_S = 0.02
_FLAC_START = b"fLaC\x00\x00\x00\x22"  # the magic number, and the header of STREAMINFO
_FLAC_FRAME_BYTES = 65_536  # where STREAMINFO does not say the most
_FLAC_BLOCKS = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_MAX_BOXES = 1_000_000
_ASF_START = b"0&\xb2u"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES = 65_536
_TAIL_BYTES = 4096  # of tags and zeros behind the sound
_MAX_LEADING_JUNK = 8192
_TRAILING_JUNK = 32


# --- streams that libsndfile decodes


@dataclass(frozen=True)
class Stream:
    """Bytes start to end of a file, behind a header that replaces what the file says; one stream of sound."""

    start: int
    end: int
    head: bytes = b""


class View(io.RawIOBase):
    """A stream as a file that can be read from; source: a descriptor of the file, which stays open."""

    def __init__(self, source: int, stream: Stream):
        self._source, self._stream, self._position = source, stream, 0
        self._size = len(stream.head) + stream.end - stream.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        content = self._stream.head[self._position : self._position + wanted]
        at = self._stream.start + max(0, self._position - len(self._stream.head))
        content += os.pread(self._source, wanted - len(content), at)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


@contextlib.contextmanager
def map_file(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def find_streams(data: bytes | mmap.mmap) -> list[Stream]:
    """The streams of a WAV, FLAC or Ogg file, in order; none for any other file.

    Raises ClipError "truncated": it is shorter than its header claims, or its last page is not the last.
    """
    start = _skip_id3(data, 0)
    magic = data[start : start + 4]
    if magic == b"OggS":
        return _find_ogg_streams(data)
    if magic == b"fLaC":
        return _find_flac_streams(data, start)
    return _find_wav_streams(data, start) if _is_wav(data, start) else []


def check_ogg(data: bytes | mmap.mmap, stream: Stream, frames: int, rate_hz: int) -> None:
    """The last page counts no more samples than were found: frames per channel at rate_hz.

    Those of Opus (RFC 7845, 4) are of 48 kHz, and the first of them, as its head says, are no sound.
    Raises ClipError "truncated".
    """
    if data[stream.start : stream.start + 4] != b"OggS":
        return
    head = data[stream.start + 28 : stream.start + 40]
    is_opus = head[:8] == b"OpusHead" and len(head) == 12
    unit_hz, skipped = (48_000, struct.unpack("<H", head[10:])[0]) if is_opus else (rate_hz, 0)
    page = _last_page(data, stream)
    claimed_s = (struct.unpack("<q", page[6:14])[0] - skipped) / unit_hz
    if frames / rate_hz < claimed_s - _OGG_WITHIN_S:
        raise ClipError("truncated", f"it claims {claimed_s:.3f} s, {frames / rate_hz:.3f} s can be decoded")


def _find_ogg_streams(data: bytes | mmap.mmap) -> list[Stream]:
    """Streams lie end to end (RFC 3533, 4: chaining) where a first page comes after one that is not."""
    starts, position, has_begun = [0], 0, False
    while (position := data.find(b"OggS", position)) >= 0 and position + 27 <= len(data):
        is_first = bool(data[position + 5] & 2)
        if is_first and has_begun:
            starts.append(position)
        has_begun = not is_first
        segments = data[position + 26]
        position += 27 + segments + sum(data[position + 27 : position + 27 + segments])
    streams = [Stream(*ends) for ends in zip(starts, [*starts[1:], len(data)], strict=True)]
    for stream in streams:
        page = _last_page(data, stream)
        if len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            raise ClipError("truncated", "its last page is not marked as the last, or is cut")
    return streams


def _last_page(data: bytes | mmap.mmap, stream: Stream) -> bytes:
    tail = data[max(stream.start, stream.end - _OGG_PAGE_BYTES) : stream.end]
    return tail[tail.rfind(b"OggS") :]


def _is_wav(data: bytes | mmap.mmap, at: int) -> bool:
    return data[at : at + 4] in (b"RIFF", b"RF64", b"RIFX") and data[at + 8 : at + 12] == b"WAVE"


def _find_wav_streams(data: bytes | mmap.mmap, first: int) -> list[Stream]:
    streams: list[Stream] = []
    start: int | None = first
    while start is not None:
        stream, start = _read_wav(data, start)
        streams.append(stream)
    return streams


def _read_wav(data: bytes | mmap.mmap, start: int) -> tuple[Stream, int | None]:
    """The WAV that begins at start, its sizes corrected where they are wrong; and where another one follows.

    What is behind the data that the header claims is sound too, unless it is a chunk, a tag or another WAV.
    A size of 0, or about 2^31 or 2^32, is one that a program could not know when it wrote to a pipe.
    """
    order = ">" if data[start : start + 4] == b"RIFX" else "<"
    chunk = _find_data_chunk(data, start, order)
    if chunk is None:
        return Stream(start, len(data)), None
    at, claimed, ds64 = chunk
    behind = at + claimed
    following = _find_wav(data, at if behind > len(data) else behind)
    if behind > len(data) and not _is_placeholder(claimed):
        raise ClipError("truncated", f"the header claims {behind} bytes, the file has {len(data)}")
    if behind <= len(data) and _is_metadata(data, behind, order):
        end = behind
    else:
        end = len(data) if following is None else following
    if end == behind and start == 0 and following is None:
        return Stream(start, len(data)), None
    return Stream(
        at, end, _correct_head(data[start:at], end - at, ds64 - start if ds64 else 0, order)
    ), following


def _find_data_chunk(data: bytes | mmap.mmap, start: int, order: str) -> tuple[int, int, int] | None:
    """Where the sound begins, the bytes that the header claims of it, and where ds64 (RF64) begins, or 0."""
    found = _find_chunk(data, start + 12, b"data", order)
    if found is None:
        return None
    at, claimed = found
    ds64 = _find_chunk(data, start + 12, b"ds64", order)
    if ds64 is None or ds64[0] >= at or ds64[1] < 28:
        return at, claimed, 0
    if claimed == 2**32 - 1:
        claimed = _unpack(order + "Q", data, ds64[0] + 8)
        claimed = 2**32 - 1 if claimed in _NO_DS64 else claimed
    return at, claimed, ds64[0]


def _is_placeholder(claimed: int) -> bool:
    return min(abs(claimed - 2**31), abs(claimed - 2**32)) <= _PLACEHOLDER_WITHIN


def _is_metadata(data: bytes | mmap.mmap, at: int, order: str) -> bool:
    """Whether the file ends at `at`, but for less than a chunk, or goes on with a chunk or a tag.

    A chunk begins at an even byte; not all programs write the byte that pads the one before.
    """
    for position in {at, at + at % 2}:
        if position + 8 > len(data):
            return True
        name, length = data[position : position + 4], _unpack(order + "I", data, position + 4)
        if (
            name in _AFTER_DATA
            or name[:3] in (b"TAG", b"ID3")
            or data[position : position + 8] == b"APETAGEX"
        ):
            return True
        is_name = all(32 <= byte < 127 for byte in name) and name not in _NEVER_AFTER_DATA
        if is_name and position + 8 + length <= len(data):
            return True
    return False


def _find_wav(data: bytes | mmap.mmap, at: int) -> int | None:
    """Where the next WAV begins."""
    while (at := data.find(b"WAVEfmt ", at)) >= 0:
        if at >= 8 and _is_wav(data, at - 8):
            return at - 8
        at += 8
    return None


def _correct_head(head: bytes, size: int, ds64: int, order: str) -> bytes:
    """The header of a WAV, up to its sound, with the sizes that are true; ds64: where that chunk is, or 0."""
    corrected = bytearray(head)
    short = min(size, 2**32 - 1)
    corrected[4:8] = struct.pack(order + "I", min(len(head) - 8 + size, 2**32 - 1))
    if ds64:
        block = max(1, _block_bytes(head, order))
        corrected[ds64 : ds64 + 24] = struct.pack(order + "QQQ", len(head) - 8 + size, size, size // block)
        short = 2**32 - 1
    corrected[-4:] = struct.pack(order + "I", short)
    return bytes(corrected)


def _block_bytes(head: bytes, order: str) -> int:
    at = head.find(b"fmt ")
    return _unpack(order + "H", head, at + 20) if 0 <= at <= len(head) - 22 else 1


def _unpack(form: str, data: bytes | mmap.mmap, at: int) -> int:
    return struct.unpack(form, data[at : at + struct.calcsize(form)])[0]


def _find_flac_streams(data: bytes | mmap.mmap, start: int) -> list[Stream]:
    starts = [start]
    while (position := data.find(_FLAC_START, starts[-1] + 8)) >= 0:
        starts.append(position)
    ends = [*starts[1:], len(data)]
    heads = [_correct_flac_head(data, *span) for span in zip(starts, ends, strict=True)]
    if len(starts) == 1 and not heads[0]:
        return [Stream(0, len(data))]
    spans = zip(starts, ends, heads, strict=True)
    return [Stream(begin + len(head), end, head) for begin, end, head in spans]


def _correct_flac_head(data: bytes | mmap.mmap, start: int, end: int) -> bytes:
    """The first bytes of a FLAC stream with the true number of samples; empty where it claims no fewer.

    STREAMINFO (RFC 9639, 8.2) may leave the number 0; the header of the last frame tells it then.
    """
    if end - start < 42:
        return b""
    number = int.from_bytes(data[start + 18 : start + 26], "big")
    claimed = number & 2**36 - 1
    total = _count_flac_samples(data, start, end)
    if total <= claimed:
        return b""
    return data[start : start + 18] + (number >> 36 << 36 | total).to_bytes(8, "big")


def _count_flac_samples(data: bytes | mmap.mmap, start: int, end: int) -> int:
    """Samples per channel up to the end of the last frame, as its header says; 0 where none is found."""
    first, is_last = start + 4, False
    while not is_last and first + 4 <= end:
        is_last = bool(data[first] & 128)
        first += 4 + int.from_bytes(data[first + 1 : first + 4], "big")
    sample_bytes = data[first : first + 4]
    if len(sample_bytes) < 4:
        return 0
    block = int.from_bytes(data[start + 8 : start + 10], "big")
    frame_bytes = int.from_bytes(data[start + 15 : start + 18], "big") or _FLAC_FRAME_BYTES
    low = max(first, end - frame_bytes - _TAIL_BYTES)
    position = end
    while (position := data.rfind(b"\xff", low, position)) >= 0:
        total = _parse_flac_frame(data[position : min(position + 16, end)], sample_bytes, block)
        if total:
            return total
    return 0


def _parse_flac_frame(head: bytes, like: bytes, block: int) -> int:
    """Samples up to the end of the frame that this header (RFC 9639, 9.1) begins; 0 where it is none.

    like: the first four bytes of the first frame, whose rate and sample size all others have.
    """
    if len(head) < 6 or head[:2] != like[:2] or (head[2] ^ like[2]) & 15 or (head[3] ^ like[3]) & 15:
        return 0
    width = max(1, 8 - (~head[4] & 255).bit_length())
    number, at = head[4] & (127 if width == 1 else 127 >> width), 4 + width
    for byte in head[5:at]:
        number = number << 6 | byte & 63
    code = head[2] >> 4
    size = _FLAC_BLOCKS.get(code, 0)
    if code in (6, 7):
        size = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not size or at >= len(head) or _crc8(head[:at]) != head[at]:
        return 0
    return (number if head[1] & 1 else number * block) + size


def _crc8(content: bytes) -> int:
    """RFC 9639, 9.1.8: polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 128 else 0)
    return value


# --- files that FFmpeg reads


def check_sizes(path: Path) -> None:
    """Hold the sizes in the header of an AIFF, AU, MP4, Matroska or ASF file against the file.

    Raises ClipError: "truncated" where it is shorter, "unreadable" where FFmpeg would leave sound out.
    """
    with map_file(path) as data:
        if data[:4] == b"FORM" and data[8:11] == b"AIF":
            at, size = _find_chunk(data, 12, b"SSND", ">") or (len(data), 0)
            end, is_all = at + size, _is_metadata(data, at + size, ">")
        elif data[:4] == b".snd" and len(data) >= 24:
            at, size = struct.unpack(">II", data[4:12])
            end = len(data) if size == 2**32 - 1 else at + size
            is_all = end >= len(data)
        elif data[4:8] == b"ftyp":
            end, movies = _walk_boxes(data)
            is_all = movies < 2
        elif data[:4] == b"\x1aE\xdf\xa3":
            end, is_all = _find_segment_end(data), True
        elif data[:4] == _ASF_START:
            end, is_all = _find_asf_end(data), True
        else:
            return
        if end > len(data):
            raise ClipError("truncated", f"the header claims {end} bytes, the file has {len(data)}")
        if not is_all:
            raise ClipError(
                "unreadable", "more sound follows than its header tells of; another file, it seems"
            )


def _walk_boxes(data: bytes | mmap.mmap) -> tuple[int, int]:
    """Where the last box of an MP4 file (ISO 14496-12, 4.2) ends, and how many boxes `moov` there are."""
    position = movies = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            break
        size = _unpack(">I", data, position)
        movies += data[position + 4 : position + 8] == b"moov"
        if size == 1 and position + 16 <= len(data):
            size = _unpack(">Q", data, position + 8)
        if size < 8:  # 0: to the end of the file
            return len(data), movies
        position += size
    return position, movies


def _find_asf_end(data: bytes | mmap.mmap) -> int:
    """The size of an ASF file by its File Properties Object (ASF 01.20.03, 3.2); 0 for a live one."""
    at = data.find(_ASF_PROPERTIES, 0, _ASF_HEADER_BYTES)
    if at < 0 or at + 92 > len(data) or _unpack("<I", data, at + 88) & 1:
        return 0
    return _unpack("<Q", data, at + 40)


def _find_chunk(data: bytes | mmap.mmap, position: int, wanted: bytes, order: str) -> tuple[int, int] | None:
    """Where the contents of a chunk begin, and its size."""
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return None
        length = _unpack(order + "I", data, position + 4)
        if data[position : position + 4] == wanted:
            return position + 8, length
        position += 8 + length + length % 2
    return None


def _find_segment_end(data: bytes | mmap.mmap) -> int:
    """Where the first Segment of a Matroska file (RFC 9559, 5.1) ends; 0 where it does not say."""
    header_size, at = _read_vint(data, 4)
    at += header_size
    if data[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, at = _read_vint(data, at + 4)
    return at + size if size else 0


def _read_vint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """A number of RFC 8794, 4, and what follows it; 0 for the one that means unknown."""
    width = 9 - data[at].bit_length() if at < len(data) and data[at] else 8
    value = int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1
    return 0 if value == (1 << 7 * width) - 1 else value, at + width


# --- MPEG audio


@dataclass(frozen=True)
class MpegStream:
    """Frames that one encoder made in one go; skipped and dropped: its delay and padding, in samples."""

    first: int
    end: int
    skipped: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Mpeg:
    """Every frame of an MP3 file, by its bytes.

    layer: 1 to 3. starts (F,), lengths (F,): int64, in bytes.
    """

    layer: int
    rate_hz: int
    channels: int
    frame_samples: int
    starts: np.ndarray = field(repr=False)
    lengths: np.ndarray = field(repr=False)
    streams: tuple[MpegStream, ...]

    def samples_of(self, stream: MpegStream) -> int:
        """Per channel."""
        whole = (stream.end - stream.first) * self.frame_samples
        return max(0, whole - stream.skipped - stream.dropped)


@dataclass(frozen=True)
class _FrameHeader:
    """kind: version, layer and rate, which all frames of a file share."""

    kind: int
    length: int
    layer: int
    rate_hz: int
    samples: int
    channels: int
    side_bytes: int


@functools.lru_cache(maxsize=4)
def read_mpeg(path: Path, size: int, modified_ns: int) -> Mpeg | None:
    """All frames of an MP3 file; None where it is none. Kept for the pieces of a recording.

    A Xing, Info or VBRI frame begins a stream and says how long it is: files that were put end to end have
    several. Raises ClipError "truncated": bytes that belong to no frame, or fewer frames than are claimed.
    """
    with map_file(path) as data:
        return find_mpeg(data)


def find_mpeg(data: bytes | mmap.mmap) -> Mpeg | None:
    """See read_mpeg."""
    position = _find_first_frame(data)
    if position is None:
        return None
    first = _read_frame_header(data, position)
    starts: list[int] = []
    lengths: list[int] = []
    streams: list[tuple[int, _Claim]] = [(0, _Claim())]
    size = len(data)
    while position < size:
        header = _read_frame_header(data, position)
        if header is None or header.kind != first.kind:
            after = _skip_tag(data, position)
            if after is None and size - position <= _TRAILING_JUNK and header is None:
                break
            if after is None:
                raise _make_sync_error(data, position, len(starts) * first.samples / first.rate_hz)
            position = after
            continue
        if position + header.length > size:
            raise ClipError(
                "truncated",
                f"its last MP3 frame has {size - position} of {header.length} bytes, "
                f"at {len(starts) * first.samples / first.rate_hz:.3f} s",
            )
        claim = _read_claim(data[position : position + header.length], header)
        if claim is None:
            starts.append(position)
            lengths.append(header.length)
        elif streams[-1][0] == len(starts):
            streams[-1] = len(starts), claim
        else:
            streams.append((len(starts), claim))
        position += header.length
    ends = [begin for begin, _ in streams[1:]] + [len(starts)]
    checked = [
        _check_claim(claim, begin, end, sum(lengths[begin:end]))
        for (begin, claim), end in zip(streams, ends, strict=True)
    ]
    return Mpeg(
        first.layer, first.rate_hz, first.channels, first.samples,
        np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64), tuple(checked),
    )  # fmt: skip


@dataclass(frozen=True)
class _Claim:
    """What a Xing, Info or VBRI frame says of its stream; 0: nothing. bytes_: without that frame."""

    frames: int = 0
    bytes_: int = 0
    delay: int = 0
    padding: int = 0


def _check_claim(claim: _Claim, first: int, end: int, size: int) -> MpegStream:
    frames = end - first
    if frames < claim.frames and (size < claim.bytes_ if claim.bytes_ else frames + 1 < claim.frames):
        raise ClipError("truncated", f"the header claims {claim.frames} MP3 frames, {frames} are there")
    if not (claim.delay or claim.padding):
        return MpegStream(first, end)
    # A decoder is 529 samples late. Padding is where the encoder stopped: at the frame that it claims.
    dropped = max(0, claim.padding - 529) if frames == claim.frames else 0
    return MpegStream(first, end, claim.delay + 529, dropped)


def _make_sync_error(data: bytes | mmap.mmap, position: int, at_s: float) -> ClipError:
    found = data[position : position + 8]
    return ClipError(
        "truncated",
        f"sound is lost at {at_s:.3f} s: byte {position} begins no MP3 frame like the others, but {found!r}",
    )


_MPEG_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_KBPS = {  # (whether MPEG-1, layer): by the index of the header, 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@functools.lru_cache(maxsize=4096)
def _parse_frame_header(head: bytes) -> _FrameHeader | None:
    """The four bytes that begin an MPEG audio frame (ISO 11172-3, 2.4.1.3; 13818-3 for the lower rates)."""
    if len(head) < 4 or head[0] != 255 or head[1] < 224:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    is_mpeg_1, rate_hz = version == 3, _MPEG_RATES_HZ[version][rate]
    bits_per_s = 1000 * _MPEG_KBPS[is_mpeg_1, layer][bitrate - 1]
    if layer == 1:
        length, samples = (12 * bits_per_s // rate_hz + padding) * 4, 384
    else:
        samples = 576 if layer == 3 and not is_mpeg_1 else 1152
        length = samples // 8 * bits_per_s // rate_hz + padding
    channels = 1 if head[3] >> 6 == 3 else 2
    side_bytes = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[is_mpeg_1, channels]
    kind = version << 8 | layer << 4 | rate
    return _FrameHeader(kind, length, layer, rate_hz, samples, channels, side_bytes)


def _read_frame_header(data: bytes | mmap.mmap, at: int) -> _FrameHeader | None:
    return _parse_frame_header(data[at : at + 4])


def _find_first_frame(data: bytes | mmap.mmap) -> int | None:
    """Behind tags, zeros and the rest of a frame: where three frames alike follow each other."""
    start = _skip_id3(data, 0)
    for position in range(start, min(start + _MAX_LEADING_JUNK, len(data))):
        if data[position] != 255:
            continue
        header, at = _read_frame_header(data, position), position
        if header is None:
            continue
        for _ in range(2):
            at += header.length
            following = _read_frame_header(data, at)
            if at == len(data) or _skip_tag(data, at):
                return position
            if following is None or following.kind != header.kind:
                break
            header = following
        else:
            return position
    return None


def _read_claim(frame: bytes, header: _FrameHeader) -> _Claim | None:
    """What a Xing, Info or VBRI frame says; None where it is a frame of sound."""
    if header.layer != 3:
        return None
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        size, frames = struct.unpack(">II", frame[46:54])
        return _Claim(frames, max(0, size - len(frame)))
    at = 4 + header.side_bytes
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8
    numbers = []
    for bit, width in ((1, 4), (2, 4), (4, 100), (8, 4)):
        numbers.append(int.from_bytes(frame[at : at + 4], "big") if flags & bit and width == 4 else 0)
        at += width if flags & bit else 0
    delay, padding = 0, 0
    if frame[at : at + 4] in (b"LAME", b"Lavf", b"Lavc", b"GOGO") and len(frame) >= at + 24:
        gaps = int.from_bytes(frame[at + 21 : at + 24], "big")
        delay, padding = gaps >> 12, gaps & 4095
    return _Claim(numbers[0], max(0, numbers[1] - len(frame)), delay, padding)


def _skip_id3(data: bytes | mmap.mmap, at: int) -> int:
    """Behind the ID3v2 tags that begin at `at`."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        sizes = data[at + 6 : at + 10]
        at += (
            10
            + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(sizes))
            + 10 * bool(data[at + 5] & 16)
        )
    return at


def _skip_tag(data: bytes | mmap.mmap, at: int) -> int | None:
    """Behind the tag, or the zeros at the end of the file, that begin at `at`; None for neither."""
    if (after := _skip_id3(data, at)) > at:
        return min(after, len(data))
    if data[at : at + 3] == b"TAG":
        return min(at + 128, len(data))
    if data[at : at + 8] == b"APETAGEX" and at + 32 <= len(data):
        header = 32 if _unpack("<I", data, at + 20) >> 29 & 1 else 0
        claimed = header + _unpack("<I", data, at + 12)
        return min(at + max(32, claimed), len(data))
    if data[at : at + 11] == b"LYRICSBEGIN" and (end := data.find(b"LYRICS200", at)) >= 0:
        return end + 9
    rest = data[at : at + _TAIL_BYTES + 1]
    if rest and len(rest) <= _TAIL_BYTES and not any(rest):
        return len(data)
    return None
