"""Every bad file there is, among good ones, through the commands a person runs: what becomes of each.

Each is rejected by its code and a reason that says what was found, or kept where it can be used; none is
lost, nothing is a traceback, and no bomb takes a gigabyte.
"""

import os
import shutil
import signal
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bad_sounds
import commands
from bad_sounds import RATE_HZ, content, cut, flac_claiming, rotten, wav, with_info
from commands import rows
from sotaque import audio, files, loudness, manifest, sandbox
from sotaque.data import ingest, normalize
from sotaque.errors import REMEDIES
from sotaque.manifest import Reject, Utterance
from sotaque.settings import Ingest, Normalize, Settings
from sounds import encode, save, voice

MEASURED = (
    "import resource, subprocess, sys;"
    "status = subprocess.run(sys.argv[1:]).returncode;"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
    "sys.exit(status)"
)
TO_MB = 2**-20 if sys.platform == "darwin" else 2**-10  # of ru_maxrss
KEPT = "kept"
HTML = b"<html><body>404 Not Found</body></html>" * 20


def noisy(at: int, value: float) -> bytes:
    samples = voice()
    samples[at] = value
    return content(samples, subtype="FLOAT")


def surround() -> np.ndarray:
    channels = np.zeros((RATE_HZ, 6), dtype=np.float32)
    channels[:, 2] = voice()
    return channels


@dataclass(frozen=True)
class Case:
    """A file's bytes, what becomes of it, and words of the reason that say what was found."""

    content: bytes
    code: str
    said: str = ""
    suffix: str = "wav"


WHOLE, FLAC, MP3 = content(), content(container="FLAC"), content(container="MP3")
OGG, OPUS = (content(container="OGG", subtype=subtype) for subtype in ("VORBIS", "OPUS"))
M4A = encode(voice(3.0), RATE_HZ, "ipod", "aac")
WEBM = encode(voice(3.0, 48_000), 48_000, "webm", "libopus")
AMR = encode(voice(1.35, 8_000), 8_000, "amr", "libopencore_amrnb", bit_rate=12_200)
THIRD = content(voice(1.95))[:40] + struct.pack("<I", 31_200) + content(voice(1.95))[44:]
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nstereo.wav\n#EXT-X-ENDLIST\n"
CASES = {
    # what is no sound
    "zero-bytes": Case(b"", "empty", "0 bytes"),
    "header-only": Case(wav(0, b""), "empty", "no sound follows"),
    "cut-header": Case(wav(2000)[:20], "unreadable", "It starts with b'RIFF"),
    "html": Case(HTML, "unreadable", "It starts with b'<html>"),
    "id3-only": Case(b"ID3\x04" + bytes(6), "unreadable", "It starts with b'ID3", "mp3"),
    "text": Case("só texto, nenhum som\n".encode() * 50, "unreadable", "It starts with b's"),
    "voc": Case(content(container="VOC"), "format", "container is VOC, read are WAV"),
    # headers that lie
    "cut-data": Case(cut(WHOLE), "truncated", "claims 144044 bytes, the file has 86426"),
    "claims-3-gb": Case(wav(0xB0000000), "truncated", "claims 2952790060 bytes, the file has 2044"),
    "claims-4-gb": Case(wav(0xFFFFFFFF), "too-short", "0.042 s"),  # written to a pipe
    "no-channels": Case(wav(2000, channels=0), "unreadable", "It starts with b'RIFF"),
    "1024-channels": Case(wav(8192, bytes(8192), channels=1024), "channels", "1024 channels, allowed"),
    "rate-0": Case(wav(2000, rate_hz=0), "unreadable", "It starts with b'RIFF"),
    "rate-1": Case(wav(2000, rate_hz=1), "rate", "1 Hz, allowed: 4000 to 384000"),
    "rate-655350": Case(wav(2000, rate_hz=655_350), "rate", "655350 Hz, allowed: 4000 to 384000"),
    "rate-2-32": Case(wav(2000, rate_hz=2**32 - 1), "unreadable", "It starts with b'RIFF"),
    "flac-bomb": Case(flac_claiming(FLAC, 2**36 - 1), "too-long", "2863312 s, the limit is 600 s", "flac"),
    "list-claims-2-gb": Case(with_info(WHOLE, 2**31 - 1, 0), "unreadable", "It starts with b'RIFF"),
    # compressed files that end early or rot
    "cut-flac": Case(cut(FLAC), "unreadable", "decoding fails", "flac"),
    "rotten-flac": Case(rotten(FLAC), "unreadable", "decoding fails", "flac"),
    "cut-mp3": Case(cut(MP3), "truncated", "its last MP3 frame has", "mp3"),
    "rotten-mp3": Case(rotten(MP3), "truncated", "sound is lost at 1.5", "mp3"),
    "cut-m4a": Case(cut(M4A), "truncated", "the header claims", "m4a"),
    "rotten-m4a": Case(rotten(M4A), "unreadable", "decoding fails after 1.5", "m4a"),
    "cut-webm": Case(cut(WEBM), "truncated", "the header claims", "webm"),
    "playlist": Case(PLAYLIST, "unreadable", "It starts with b'#EXTM3U", "m4a"),
    "cut-ogg": Case(cut(OGG), "truncated", "not marked as the last", "ogg"),
    "rotten-ogg": Case(rotten(OGG), "truncated", "can be decoded", "ogg"),
    "cut-opus": Case(cut(OPUS, 0.99), "truncated", "not marked as the last", "opus"),
    "rotten-opus": Case(rotten(OPUS), "truncated", "can be decoded", "opus"),
    # sound that is no use
    "nan": Case(noisy(1000, np.nan), "not-finite", "NaN or infinite"),
    "infinite": Case(noisy(1000, -np.inf), "not-finite", "NaN or infinite"),
    "silence": Case(content(np.zeros(2 * RATE_HZ)), "silent", "-70 LUFS"),
    "too-short": Case(content(voice(0.3)), "too-short", "0.300 s without silence, normalize.min_s is 0.4"),
    "too-long": Case(content(voice(31.0)), "too-long", "31.000 s without silence, normalize.max_s is 30.0"),
    "anti-phase": Case(content(np.stack([voice(), -voice()], axis=1)), "anti-phase", "2 channels cancel"),
    # what looks odd and can be used
    "wrong-suffix": Case(content(voice(1.1), "MP3"), KEPT),
    "wrong-suffix-too": Case(content(voice(1.2)), KEPT, suffix="mp3"),
    "clipped": Case(content(np.clip(9 * voice(1.3), -1, 1)), KEPT),
    "offset": Case(content(voice(1.4) + np.float32(0.3)), KEPT),
    "comment-claims-4-gb": Case(with_info(content(voice(1.9)), 12, 2**32 - 1), KEPT),
    "claims-a-third": Case(THIRD, KEPT),
    "two-mp3s": Case(2 * content(voice(0.7), "MP3"), KEPT, suffix="mp3"),
    "m4a": Case(encode(voice(1.25), RATE_HZ, "ipod", "aac"), KEPT, suffix="m4a"),
    "amr": Case(AMR, KEPT, suffix="amr"),
    "aiff": Case(content(voice(1.45), "AIFF"), KEPT, suffix="aiff"),
    "stereo": Case(content(np.stack([voice(), voice(pitch_hz=200)], axis=1)), KEPT),
    "surround": Case(content(surround()), KEPT),
    "vorbis": Case(content(voice(1.05), "OGG"), KEPT, suffix="ogg"),
    "opus": Case(content(voice(1.15), "OGG", subtype="OPUS"), KEPT, suffix="opus"),
    "8-bit": Case(content(voice(1.5), subtype="PCM_U8"), KEPT),
    "24-bit": Case(content(voice(1.6), subtype="PCM_24"), KEPT),
    "over-full-scale": Case(content(9 * voice(1.7), subtype="FLOAT"), KEPT),
    "mu-law": Case(content(voice(1.8), subtype="ULAW"), KEPT),
    "8000-hz": Case(content(voice(1.0, 8_000), rate_hz=8_000), KEPT),
    "11025-hz": Case(content(voice(1.0, 11_025), rate_hz=11_025), KEPT),
    "96000-hz": Case(content(voice(1.0, 96_000), rate_hz=96_000), KEPT),
    "192000-hz": Case(content(voice(1.0, 192_000), rate_hz=192_000), KEPT),
}  # fmt: skip
TEN_MINUTES = "ten-minutes"
WARNED = {"wrong-suffix": "called .wav, read as MP3", "wrong-suffix-too": "called .mp3, read as WAV"}


@dataclass(frozen=True)
class Outcome:
    """What the two commands left, by id; what they said; the peak memory of each in MB."""

    folder: Path
    kept: dict[str, dict]
    rejects: dict[str, dict]
    warnings: dict[str, dict]
    told: str
    peaks_mb: list[float]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    where = tmp_path_factory.mktemp("bad")
    corpus = commands.folder(where)
    names = {name: f"{name}.{case.suffix}" for name, case in CASES.items()}
    for name, case in CASES.items():
        (corpus / names[name]).write_bytes(case.content)
    names[TEN_MINUTES] = f"{TEN_MINUTES}.wav"
    bad_sounds.zeros(corpus / names[TEN_MINUTES], 600 * 96_000, 1, 96_000)
    (corpus / "list.csv").write_text("".join(f"{file}|Bom dia, {name}.\n" for name, file in names.items()))
    measured = sys.executable, "-c", MEASURED
    done = [commands.sotaque(where, stage, *measured) for stage in ("ingest", "normalize")]
    made, wav_folder = where / "data/manifest", where / "data/wav/00"
    return Outcome(
        where,
        rows(wav_folder / "manifest.jsonl"),
        rows(made / "rejects.jsonl") | rows(wav_folder / "rejects.jsonl"),
        rows(made / "warnings.jsonl"),
        "".join(process.stderr for process in done),
        [int(process.stdout) * TO_MB for process in done],
    )


@pytest.mark.parametrize("name", [*CASES, TEN_MINUTES])
def test_a_bad_file_is_rejected_with_what_was_found_and_a_good_one_is_kept(outcome, name):
    case = CASES.get(name, Case(b"", "too-long", "600.000 s without silence"))
    if case.code == KEPT:
        assert name in outcome.kept, outcome.rejects.get(name)
        return
    row = outcome.rejects[name]
    assert row["code"] == case.code, row
    assert case.said in row["reason"]
    assert row["reason"].endswith(f"; {REMEDIES[case.code]}")
    assert Path(row["audio"]).stem == name


def test_nothing_is_lost_and_nothing_stands_twice(outcome):
    assert outcome.kept.keys() | outcome.rejects.keys() == {*CASES, TEN_MINUTES}
    assert not outcome.kept.keys() & outcome.rejects.keys()


def test_nothing_is_a_traceback(outcome):
    assert "Traceback" not in outcome.told


def test_no_bomb_takes_a_gigabyte(outcome):
    assert max(outcome.peaks_mb) < 1000


def test_an_rf64_over_4_gb_is_refused_by_its_header_in_little_memory(tmp_path):
    bad_sounds.rf64_over_4_gb(tmp_path / "a.wav")
    [answer] = sandbox.each(audio.read, [tmp_path / "a.wav"], sandbox.Limits(max_s=10, max_mb=32))
    assert (answer.code, answer.reason) == ("too-long", "it claims 111848 s, the limit is 600 s")


def test_a_name_that_lies_about_the_format_is_a_warning(outcome):
    found = {name: row["reason"] for name, row in outcome.warnings.items()}
    assert found.keys() == WARNED.keys()
    assert all(words in found[name] for name, words in WARNED.items())
    assert {row["code"] for row in outcome.warnings.values()} == {"wrong-suffix"}


def test_what_is_kept_is_fit_for_use(outcome):
    for row in outcome.kept.values():
        samples, rate_hz = audio.read(outcome.folder / row["audio"])
        assert rate_hz == RATE_HZ
        assert abs(samples.mean()) < 1e-3
        assert loudness.loudness_lufs(samples, rate_hz) == pytest.approx(row["loudness_lufs"], abs=0.1)
        assert abs(row["loudness_lufs"] + 23.0) < 0.1 or np.abs(samples).max() == pytest.approx(
            10 ** (-1 / 20), abs=1e-3
        )


# --- decoders that hang, crash or fill the memory


def clip(name: str, samples: np.ndarray) -> Utterance:
    return Utterance(name, save(Path(f"{name}.wav"), samples).as_posix(), "Bom dia.", "ana", "pt")


def normalized(utterances, **limits):
    """(ids kept, code by id of the others, checksums of the WAVs)"""
    shutil.rmtree("out", ignore_errors=True)
    manifest.write(Path("manifest/00.jsonl"), utterances)
    settings = Settings(normalize=Normalize(**limits), ingest=Ingest(max_rejected_share=0.5))
    normalize.run(settings, model=Path("m"), manifest=Path("manifest"), shard="00", out=Path("out"))
    kept = [u.id for u in manifest.read(Path("out/manifest.jsonl"))]
    rejects = {r.id: r.code for r in manifest.read(Path("out/rejects.jsonl"), Reject)}
    return kept, rejects, {p.name: files.sha256(p) for p in Path("out").glob("*.wav")}


def test_a_decoder_that_hangs_or_dies_costs_its_clip_and_changes_no_other(workplace, monkeypatch):
    """The fault is put into libsndfile's place: it is reported to hang on some malformed files."""
    clips = [
        clip(name, voice(1.0 + n / 10)) for n, name in enumerate(("a", "hangs", "c", "dies", "e", "killed"))
    ]
    good = [utterance for utterance in clips if len(utterance.id) == 1]
    usual = normalized(good)
    real = soundfile.SoundFile

    def opened(path):
        while Path(path).stem == "hangs":
            pass
        if Path(path).stem == "dies":
            os.abort()
        if Path(path).stem == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path)

    monkeypatch.setattr(soundfile, "SoundFile", opened)
    kept, rejects, sums = normalized(clips, max_decode_s=0.3)
    assert kept == ["a", "c", "e"]
    assert rejects == {"hangs": "decode-timeout", "dies": "decode-crash", "killed": "decode-crash"}
    assert sums == usual[2]


def test_a_clip_that_needs_more_memory_than_allowed_costs_itself_only(workplace):
    small = clip("small", voice())
    bad_sounds.zeros(Path("large.wav"), 600 * 8_000, rate_hz=8_000)
    large = replace(small, id="large", audio="large.wav")
    kept, rejects, _ = normalized([small, large], max_decode_mb=32)
    assert (kept, rejects) == (["small"], {"large": "decode-memory"})


# --- what is no ordinary file


def test_pipes_links_and_folders_in_the_place_of_audio_cost_themselves_only(workplace):
    corpus = Path("data/raw/mine")
    save(corpus / "good.wav", voice())
    save(Path("data/raw/outside.wav"), voice(1.1))
    os.mkfifo(corpus / "pipe.wav")
    for name, target in {"loop": "loop.wav", "dangling": "gone.wav", "device": "/dev/zero",
                         "outside": "../outside.wav"}.items():  # fmt: skip
        (corpus / f"{name}.wav").symlink_to(target)
    (corpus / "folder.wav").mkdir()
    names = sorted(path.stem for path in corpus.iterdir())
    (corpus / "list.csv").write_text("".join(f"{name}.wav|Bom dia, {name}.\n" for name in names))
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=0.9))
    ingest.run(settings, corpus=corpus, out=Path("data/manifest"))
    assert [u.id for u in manifest.read(Path("data/manifest/00.jsonl"))] == ["good"]
    codes = {r.id: r.code for r in manifest.read(Path("data/manifest/rejects.jsonl"), Reject)}
    assert codes == {
        "dangling": "missing", "device": "outside-root", "folder": "missing", "loop": "missing",
        "outside": "outside-root", "pipe": "missing",
    }  # fmt: skip


def test_a_name_that_is_not_utf_8_costs_its_clip_only(workplace):
    folder = Path("data/raw/mine/ana")
    save(folder / "good.wav", voice())
    (folder / "good.lab").write_text("Bom dia.")
    bad = os.fsdecode(b"cora\xe7\xe3o")
    shutil.copy(save(Path("other.wav"), voice(1.1)), folder / f"{bad}.wav")
    (folder / f"{bad}.lab").write_text("Boa noite.")
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=0.9))
    ingest.run(settings, corpus=folder.parent, out=Path("data/manifest"))
    [kept] = manifest.read(Path("data/manifest/00.jsonl"))
    [reject] = manifest.read(Path("data/manifest/rejects.jsonl"), Reject)
    assert kept.audio == "data/raw/mine/ana/good.wav"
    assert (reject.code, reject.audio) == ("unsafe-name", "ana/cora\\udce7\\udce3o.wav")


def test_a_file_whose_name_is_not_utf_8_can_be_read(tmp_path):
    """By `audio` itself, in each of its ways: libsndfile, MP3, and FFmpeg's readers."""
    for data in (WHOLE, MP3, M4A, 2 * WHOLE):
        path = tmp_path / os.fsdecode(b"cora\xe7\xe3o.bin")
        path.write_bytes(data)
        assert audio.read_header(path).frames == len(audio.read(path)[0]) >= 3 * RATE_HZ
