"""All the sound of a file is kept: several streams, headers that claim too little, formats that FFmpeg reads.

A clip is a tone that glides from 300 to 900 Hz, so that a part that is missing, doubled or moved is seen: the
pitch tells the place. Coders are lossy; so the place is held to 20 ms, and the sound to its correlation.
"""

import io
import itertools
import os
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bad_sounds import content, cut, flac_claiming, rotten
from sotaque import audio, containers, ffmpeg, manifest
from sotaque.data import ingest, normalize
from sotaque.errors import ClipError
from sotaque.settings import Ingest, Settings
from sounds import encode, save, voice

RATE_HZ = 24_000


def glide(duration_s: float = 3.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(T,) float32: a tone from 300 to 900 Hz, loud all the way."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = 300 * time_s + 300 * time_s**2 / duration_s
    return (0.4 * np.sin(2 * np.pi * phase)).astype(np.float32)


def halves() -> tuple[np.ndarray, np.ndarray]:
    whole = glide()
    return whole[: len(whole) // 2], whole[len(whole) // 2 :]


def read(tmp_path: Path, data: bytes, name: str = "a.bin", *piece) -> tuple[np.ndarray, int]:
    path = tmp_path / name
    path.write_bytes(data)
    return audio.read(path, *piece)


def assert_holds(samples: np.ndarray, wanted: np.ndarray, rate_hz: int, extra_s: float = 0.0) -> None:
    """samples are `wanted`, from its first to its last, but for delay and padding of 60 ms and extra_s.

    Every tenth of a second must correlate with what was there.
    """
    beyond = len(samples) - len(wanted)
    assert -0.02 * rate_hz <= beyond <= (0.06 + extra_s) * rate_hz, f"{beyond} samples more than written"
    block, early, late = rate_hz // 10, round(0.02 * rate_hz), round((0.06 + extra_s) * rate_hz)
    padded = np.pad(samples, (early, late + block))
    for at in range(0, len(wanted) - block, block):
        part, place = wanted[at : at + block], padded[at : at + early + late + block]
        energy = np.convolve(place**2, np.ones(block), "valid")
        correlations = np.correlate(place, part, "valid") / np.sqrt((part @ part) * energy + 1e-9)
        assert correlations.max() > 0.9, f"at {at / rate_hz:.1f} s the sound is another"


# --- streams end to end, and headers that claim too little


def mp3(samples: np.ndarray, xing: bool = True, **options) -> bytes:
    muxer = {"write_xing": str(int(xing)), "id3v2_version": "0"}
    return encode(samples, RATE_HZ, "mp3", "libmp3lame", muxer=muxer, **options)


def with_wav_sizes(data: bytes, size: int, riff: int | None = None) -> bytes:
    """A WAV of libsndfile whose header claims `size` bytes of sound."""
    at = data.index(b"data") + 4
    riff = size if riff is None else riff
    return data[:4] + struct.pack("<I", riff) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]


def with_xing(data: bytes, frames: int) -> bytes:
    """The number of frames stands behind the name and the flags."""
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    return data[:at] + struct.pack(">I", frames) + data[at + 4 :]


def id3(size: int) -> bytes:
    """A tag of zeros, ID3v2.4."""
    return b"ID3\x04\x00\x00" + bytes(size >> 7 * n & 127 for n in (3, 2, 1, 0)) + bytes(size)


def piped_rf64(samples: np.ndarray) -> bytes:
    """RF64 as a program leaves it that cannot go back: all sizes of ds64 are 0."""
    data = content(samples, "RF64")
    at = data.index(b"ds64") + 8
    return data[:at] + bytes(24) + data[at + 24 :]


NOTE = b"LIST" + struct.pack("<I", 14) + b"INFOICMT" + struct.pack("<I", 2) + b"ok"
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
FIRST, SECOND = halves()
WAVS, FLACS, OGGS = ([content(part, kind) for part in halves()] for kind in ("WAV", "FLAC", "OGG"))
OPUSES = [content(part, "OGG", subtype="OPUS") for part in halves()]
MP3S, PLAIN_MP3S = ([mp3(part, xing) for part in halves()] for xing in (True, False))
WHOLE_WAV, WHOLE_FLAC = content(glide()), content(glide(), "FLAC")
VBR = {"encoder": {"abr": "1"}, "bit_rate": 40_000}
STREAMS = {
    "wav": WHOLE_WAV,
    "wav-claims-a-third": with_wav_sizes(WHOLE_WAV, 48_000),
    "wav-claims-0": with_wav_sizes(WHOLE_WAV, 0),
    "wav-from-ffmpeg's-pipe": with_wav_sizes(WHOLE_WAV, 2**32 - 1),
    "wav-from-sox's-pipe": with_wav_sizes(WHOLE_WAV, 0x7FFFF000, 0x7FFFF024),
    "wav-from-arecord's-pipe": with_wav_sizes(WHOLE_WAV, 2**31, 2**31 + 36),
    "rf64-from-a-pipe": piped_rf64(glide()),
    "rf64": content(glide(), "RF64"),
    "big-endian-wav-claims-a-third": content(glide(), endian="BIG").replace(
        struct.pack(">I", 144_000), struct.pack(">I", 48_000)
    ),
    "wav-with-a-note": WHOLE_WAV + NOTE,
    "wav-with-id3": WHOLE_WAV + id3(300),
    "wav-with-a-note-cut": WHOLE_WAV + NOTE[:12],
    "two-wavs": b"".join(WAVS),
    "two-wavs-with-notes": WAVS[0] + NOTE + WAVS[1] + NOTE,
    "two-wavs-from-a-pipe": b"".join(with_wav_sizes(data, 2**32 - 1) for data in WAVS),
    "flac": WHOLE_FLAC,
    "flac-claims-a-third": flac_claiming(WHOLE_FLAC, RATE_HZ),
    "flac-claims-0": flac_claiming(WHOLE_FLAC, 0),
    "flac-with-id3": id3(500) + WHOLE_FLAC,
    "flac-with-id3-claims-0": id3(500) + flac_claiming(WHOLE_FLAC, 0) + ID3V1,
    "two-flacs": b"".join(FLACS),
    "two-flacs-with-id3": b"".join(id3(100) + data for data in FLACS),
    "two-oggs": b"".join(OGGS),
    "two-opuses": b"".join(OPUSES),
    "mp3": mp3(glide()),
    "mp3-vbr": mp3(glide(), **VBR),
    "mp3-cbr-without-xing": mp3(glide(), xing=False),
    "mp3-vbr-without-xing": mp3(glide(), xing=False, **VBR),
    "mp3-of-two-bit-rates": mp3(FIRST, False, bit_rate=128_000) + mp3(SECOND, False, bit_rate=32_000),
    "mp3-claims-40-frames": with_xing(mp3(glide()), 40),
    "mp3-claims-a-million-frames": with_xing(mp3(glide()), 1_000_000),
    "mp3-with-id3": id3(700) + bytes(500) + mp3(glide()) + APE + ID3V1,
    "mp3-begins-inside-a-frame": b"\x01\x02\x03" * 30 + mp3(glide(), xing=False),
    "two-mp3s": b"".join(MP3S),
    "two-mp3s-with-id3": b"".join(id3(200) + data + ID3V1 for data in MP3S),
    "two-mp3s-without-xing": b"".join(PLAIN_MP3S),
    "two-mp3s-without-xing-with-id3": b"".join(id3(200) + data + ID3V1 for data in PLAIN_MP3S),
}  # fmt: skip
WITH_DELAY = {name for name in STREAMS if "without-xing" in name} | {"mp3-of-two-bit-rates"}
EXACT = {name for name in STREAMS if name.split("-")[0] in ("wav", "rf64", "big", "flac")} | {
    "two-wavs", "two-wavs-with-notes", "two-wavs-from-a-pipe", "two-flacs", "two-flacs-with-id3",
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_all_the_sound_is_kept(tmp_path, name):
    samples, rate_hz = read(tmp_path, STREAMS[name])
    assert rate_hz == RATE_HZ
    if name in EXACT:
        assert len(samples) == 3 * RATE_HZ
        np.testing.assert_allclose(samples, glide(), atol=1e-4)
    else:
        assert_holds(samples, glide(), RATE_HZ, extra_s=0.08 if name in WITH_DELAY else 0.0)


@pytest.mark.parametrize("name", STREAMS)
def test_the_header_says_what_will_be_decoded(tmp_path, name):
    samples, rate_hz = read(tmp_path, STREAMS[name])
    header = audio.read_header(tmp_path / "a.bin")
    assert (header.frames, header.rate_hz) == (len(samples), rate_hz)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("piece", [(0.0, 0.7), (0.9, 2.1), (1.5, 1.6), (2.2, None)])
def test_a_piece_is_the_same_as_of_the_whole(tmp_path, name, piece):
    whole, rate_hz = read(tmp_path, STREAMS[name])
    samples, _ = audio.read(tmp_path / "a.bin", *piece)
    first, last = round(piece[0] * rate_hz), round((piece[1] or len(whole)) * rate_hz)
    np.testing.assert_allclose(samples, whole[first:last], atol=1e-6)


def test_the_streams_of_two_mp3s_join_without_a_gap(tmp_path):
    """Delay and padding of each encoder are taken away: as many samples as went in, half and half."""
    samples, _ = read(tmp_path, STREAMS["two-mp3s"])
    assert len(samples) == 3 * RATE_HZ


def test_what_follows_a_wav_is_not_always_sound(tmp_path):
    for name in ("wav-with-a-note", "wav-with-id3", "wav-with-a-note-cut"):
        assert len(read(tmp_path, STREAMS[name])[0]) == 3 * RATE_HZ


def test_streams_of_different_rates_are_refused(tmp_path):
    other = content(voice(1.0, 16_000), rate_hz=16_000)
    with pytest.raises(ClipError, match="changes from 24000 to 16000 Hz") as caught:
        read(tmp_path, WHOLE_WAV + other)
    assert caught.value.code == "rate"


def test_streams_of_different_channels_are_refused(tmp_path):
    with pytest.raises(ClipError, match="changes from 1 to 2") as caught:
        read(tmp_path, WHOLE_WAV + content(np.stack([voice(), voice()], axis=1)))
    assert caught.value.code == "channels"


CUTS = {
    "wav": (WHOLE_WAV, "truncated"),
    "wav-claims-1-gb": (with_wav_sizes(WHOLE_WAV, 2**30), "truncated"),
    "second-of-two-wavs": (STREAMS["two-wavs"], "truncated"),
    "flac": (WHOLE_FLAC, "unreadable"),
    "flac-claims-0": (STREAMS["flac-claims-0"], "unreadable"),
    "second-of-two-flacs": (STREAMS["two-flacs"], "unreadable"),
    "second-of-two-oggs": (STREAMS["two-oggs"], "truncated"),
    "second-of-two-opuses": (STREAMS["two-opuses"], "truncated"),
    "mp3": (STREAMS["mp3"], "truncated"),
    "mp3-vbr": (STREAMS["mp3-vbr"], "truncated"),
    "second-of-two-mp3s": (STREAMS["two-mp3s"], "truncated"),
}


@pytest.mark.parametrize("share", [0.7, 0.95])
@pytest.mark.parametrize("name", CUTS)
def test_what_ends_early_is_refused(tmp_path, name, share):
    data, code = CUTS[name]
    with pytest.raises(ClipError) as caught:
        read(tmp_path, cut(data, share))
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["mp3", "mp3-cbr-without-xing", "two-mp3s", "flac-claims-0", "two-flacs"])
def test_rot_is_refused(tmp_path, name):
    with pytest.raises(ClipError) as caught:
        read(tmp_path, rotten(STREAMS[name]))
    assert caught.value.code in ("truncated", "unreadable")


def test_zeros_inside_an_mp3_are_lost_sound(tmp_path):
    data = STREAMS["mp3-cbr-without-xing"]
    middle = len(data) // 2
    with pytest.raises(ClipError, match=r"sound is lost at 1\.5"):
        read(tmp_path, data[:middle] + bytes(2000) + data[middle + 2000 :])


def test_an_ape_tag_that_claims_no_bytes_is_passed():
    """A loop that never ends would be a hang, so the test itself would not end."""
    forged = b"APETAGEX" + bytes(24)
    data = MP3S[0] + forged + MP3S[1]
    assert len(containers.find_mpeg(data).starts) == len(containers.find_mpeg(MP3S[0] + MP3S[1]).starts)


def test_the_number_of_samples_is_found_in_flacs_of_any_kind(tmp_path):
    """The last frame is short, or not; stereo; many frames, so that their numbers take several bytes."""
    for frames, channels, rate_hz in itertools.product((1, 4096, 40_961, 700_001), (1, 2), (8_000, 44_100)):
        samples = np.stack([voice(frames / rate_hz, rate_hz)] * channels, axis=1)[:frames]
        data = flac_claiming(content(samples, "FLAC", rate_hz), 0)
        [stream] = containers.find_streams(data)
        assert int.from_bytes(stream.head[18:26], "big") & 2**36 - 1 == len(samples)


# --- formats that FFmpeg reads


@dataclass(frozen=True)
class Format:
    container: str
    codec: str
    name: str  # as audio.CONTAINERS has it
    rate_hz: int = RATE_HZ
    options: tuple = ()

    def encode(self, samples: np.ndarray) -> bytes:
        return encode(samples, self.rate_hz, self.container, self.codec, **dict(self.options))


FORMATS = {
    "m4a": Format("ipod", "aac", "MP4"),
    "mp4": Format("mp4", "aac", "MP4", 44_100),
    "mp4-in-pieces": Format("mp4", "aac", "MP4", options=(("muxer", {"movflags": "frag_every_frame"}),)),
    "alac": Format("ipod", "alac", "MP4"),
    "mov": Format("mov", "pcm_s16le", "MP4"),
    "3gp": Format("3gp", "libopencore_amrnb", "MP4", 8_000, (("bit_rate", 12_200),)),
    "aac": Format("adts", "aac", "AAC"),
    "webm": Format("webm", "libopus", "MATROSKA", 48_000),
    "webm-live": Format("webm", "libopus", "MATROSKA", 48_000, (("muxer", {"live": "1"}),)),
    "mka": Format("matroska", "libopus", "MATROSKA", 48_000),
    "mka-flac": Format("matroska", "flac", "MATROSKA"),
    "wma": Format("asf", "wmav2", "ASF", 44_100),
    "amr": Format("amr", "libopencore_amrnb", "AMR", 8_000, (("bit_rate", 12_200),)),
    "aiff": Format("aiff", "pcm_s16be", "AIFF"),
    "caf": Format("caf", "pcm_s16le", "CAF"),
    "caf-alac": Format("caf", "alac", "CAF"),
    "au": Format("au", "pcm_s16be", "AU"),
    "w64": Format("w64", "pcm_s16le", "W64"),
}
ENCODED = {name: form.encode(glide(3.0, form.rate_hz)) for name, form in FORMATS.items()}
JOINED = {"aac", "webm", "webm-live", "mka", "mka-flac"}
ENDS_UNSEEN = {"webm-live", "mp4-in-pieces"}  # nothing in them says how long they are


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_of_ffmpeg_gives_the_same_sound(tmp_path, name):
    form = FORMATS[name]
    samples, rate_hz = read(tmp_path, ENCODED[name])
    header = audio.read_header(tmp_path / "a.bin")
    assert rate_hz == form.rate_hz
    assert (header.container, header.frames, header.rate_hz) == (form.name, len(samples), rate_hz)
    # FFmpeg's encoder of WMA leaves out the last samples that fill no frame of 2,048.
    written = glide(3.0, rate_hz)[: -2048 if name == "wma" else None]
    assert_holds(samples, written, rate_hz, extra_s=0.1)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("piece", [(0.0, 0.7), (0.9, 2.1), (2.2, None)])
def test_a_piece_of_a_format_of_ffmpeg_is_that_of_the_whole(tmp_path, name, piece):
    whole, rate_hz = read(tmp_path, ENCODED[name])
    samples, _ = audio.read(tmp_path / "a.bin", *piece)
    first = round(piece[0] * rate_hz)
    last = len(whole) if piece[1] is None else round(piece[1] * rate_hz)
    assert abs(len(samples) - (last - first)) <= (0.03 * rate_hz if piece[1] is None else 0)
    assert_holds(samples, whole[first:last], rate_hz)


def test_nist_sphere_is_read(tmp_path):
    """TIMIT and other corpora of the LDC; the suffix is often .wav."""
    samples, _ = audio.read(save(tmp_path / "a.wav", glide(), format="NIST"))
    np.testing.assert_allclose(samples, glide(), atol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.97])
@pytest.mark.parametrize("name", sorted(FORMATS.keys() - ENDS_UNSEEN))
def test_a_cut_file_of_ffmpeg_is_refused(tmp_path, name, share):
    with pytest.raises(ClipError) as caught:
        read(tmp_path, cut(ENCODED[name], share))
    assert caught.value.code in ("truncated", "unreadable")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_two_files_of_ffmpeg_end_to_end_are_read_whole_or_refused(tmp_path, name):
    if name in JOINED:
        samples, rate_hz = read(tmp_path, ENCODED[name] * 2)
        assert len(samples) >= 5.9 * rate_hz
        return
    with pytest.raises(ClipError) as caught:
        read(tmp_path, ENCODED[name] * 2)
    assert caught.value.code in ("truncated", "unreadable")


def test_tags_in_another_encoding_cost_nothing(tmp_path):
    out = io.BytesIO(ENCODED["m4a"])
    tagged = io.BytesIO()
    with av.open(out) as reader, av.open(tagged, "w", format="ipod") as writer:
        writer.metadata["title"] = "Canções"
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                writer.mux(packet)
    data = tagged.getvalue()
    assert "Canções".encode() in data
    samples, rate_hz = read(tmp_path, data.replace("çõ".encode(), b"\xe7\xf5\xe7\xf5"))
    assert_holds(samples, glide(), rate_hz, extra_s=0.05)


def test_an_mp4_with_pictures_gives_its_sound(tmp_path):
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as writer:
        video = writer.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        sound = writer.add_stream("aac", rate=RATE_HZ, layout="mono")
        for n in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * n, np.uint8), format="rgb24")
            for packet in video.encode(picture):
                writer.mux(packet)
        frame = av.AudioFrame.from_ndarray(glide()[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        for packet in (*sound.encode(frame), *sound.encode(None), *video.encode(None)):
            writer.mux(packet)
    samples, rate_hz = read(tmp_path, out.getvalue())
    assert_holds(samples, glide(), rate_hz, extra_s=0.05)


def test_voice_memos_with_lab_files_are_a_corpus(workplace):
    """Each format beside a .lab, as the layout fish has it, from the folder to normalised WAVs."""
    corpus, out = Path("data/raw/mine"), Path("data/manifest")
    (corpus / "ana").mkdir(parents=True)
    for name, data in ENCODED.items():
        suffix = audio.CONTAINERS[FORMATS[name].name][0]
        (corpus / "ana" / f"{name}{suffix}").write_bytes(data)
        (corpus / "ana" / f"{name}.lab").write_text(f"Bom dia, {name.replace('-', ' ')}.")
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=0.0))
    ingest.run(settings, corpus=corpus, out=out)
    utterances = {u.id.split("_")[-1].split("/")[-1]: u for u in manifest.read(out / "00.jsonl")}
    assert len(utterances) == len(FORMATS)
    assert all(u.duration_s == pytest.approx(3.0, abs=0.08) for u in utterances.values())
    normalize.run(settings, model=Path("m"), manifest=out, shard="00", out=Path("data/wav/00"))
    kept = manifest.read(Path("data/wav/00/manifest.jsonl"))
    assert len(kept) == len(FORMATS)
    assert all(u.duration_s == pytest.approx(3.0, abs=0.08) for u in kept)
    assert not Path("data/manifest/warnings.jsonl").read_text()


# --- limits, and files that lead elsewhere


@pytest.mark.parametrize(
    "listing",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {path}\n",
    ],
    ids=["hls", "concat"],
)
def test_a_file_that_lists_others_opens_none_of_them(tmp_path, monkeypatch, listing):
    monkeypatch.chdir(tmp_path)
    for name in ("inside.m4a", "inside.ts", "inside.wav"):
        Path(name).write_bytes(ENCODED["m4a"])
        for suffix in ("m3u8", "m4a"):
            path = Path(f"list.{suffix}")
            path.write_text(listing.format(path=name))
            with pytest.raises(ClipError) as caught:
                audio.read(path)
            assert caught.value.code == "unreadable"


def test_more_sound_than_may_be_is_refused_before_it_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.m4a"
    path.write_bytes(ENCODED["m4a"])
    monkeypatch.setattr(audio, "MAX_S", 2.0)
    for call in (audio.read_header, audio.read):
        with pytest.raises(ClipError) as caught:
            call(path)
        assert caught.value.code == "too-long"
    assert len(audio.read(path, 0.5, 1.5)[0]) == RATE_HZ, "a piece of a long recording is read"
    with pytest.raises(ClipError) as caught:
        ffmpeg.Recording(path).read(0, None, ffmpeg.Limits(max_s=600, max_bytes=10_000))
    assert caught.value.code == "too-large"


DECODE = """
import sys
from pathlib import Path
import av
from sotaque import audio, sandbox
work = lambda path: ({"frames": len(audio.read(path)[0])}, b"")
for limit in (8, 100):
    [answer] = sandbox.each(work, [Path(sys.argv[1])], sandbox.Limits(max_s=60, max_mb=limit))
    print(answer[0]["frames"] if isinstance(answer, tuple) else answer.code)
"""


@pytest.mark.parametrize(("name", "kind"), [("a.m4a", ("ipod", "alac")), ("a.mp3", ("mp3", "libmp3lame"))])
def test_ffmpeg_obeys_the_limit_of_memory(tmp_path, name, kind):
    """100 s of silence at 48 kHz are 19 MB in float32; first 8 MB may be had, then 100.

    A process of its own: this one has memory to spare.
    """
    silence = np.zeros(100 * 48_000, dtype=np.float32)
    (tmp_path / name).write_bytes(encode(silence, 48_000, *kind, bit_rate=32_000))
    command = [sys.executable, "-c", DECODE, str(tmp_path / name)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == ["decode-memory", str(len(silence))]


def test_ffmpeg_starts_no_threads(tmp_path):
    before = len(os.listdir("/proc/self/task"))
    for name in ("m4a", "webm", "mka-flac"):
        read(tmp_path, ENCODED[name])
    assert len(os.listdir("/proc/self/task")) == before
    assert threading.active_count() <= before


def test_a_file_that_changes_is_counted_again(tmp_path):
    """What is kept of a recording between its pieces is of one size and time."""
    assert len(read(tmp_path, mp3(glide(1.0)))[0]) == RATE_HZ
    assert len(read(tmp_path, mp3(glide(2.0)))[0]) == 2 * RATE_HZ
