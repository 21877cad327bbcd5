"""pauses: silence is found by level and by silero-vad; ends are trimmed, cuts move out of words."""

import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sotaque import audio, files, manifest
from sotaque.data import normalize, pauses
from sotaque.data.pauses import Activity
from sotaque.errors import REMEDIES, ClipError
from sotaque.espeak import speak
from sotaque.manifest import Utterance
from sotaque.settings import Normalize, Settings
from sounds import save, voice

RATE_HZ = 24_000
SENTENCES = ("O gato dorme perto da janela.", "Amanhã vou à praia.", "Quanto custa o pão?")


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * RATE_HZ), dtype=np.float32)


def by_level(samples, below_peak_db: float = 45.0, margin_s: float = 0.05):
    found = pauses.by_level(samples, RATE_HZ, below_peak_db)
    return pauses.trimmed(samples, RATE_HZ, found, margin_s)


@pytest.fixture(scope="module")
def spoken():
    """Three sentences without silence at their ends, at RATE_HZ."""
    made = []
    for text in SENTENCES:
        samples, rate_hz = speak(text, "pt-br+f1")
        made.append(by_level(audio.resample(samples, rate_hz, RATE_HZ), margin_s=0.0))
    return made


# --- the ends of a clip


def test_trimming_keeps_the_sound_and_its_margin():
    padded = np.concatenate([silence(1.0), voice(0.5), silence(1.0)])
    trimmed = by_level(padded)
    assert len(trimmed) == pytest.approx((0.5 + 2 * 0.05) * RATE_HZ, abs=0.02 * RATE_HZ)
    start = np.flatnonzero(padded == trimmed[trimmed != 0][0])[0] - np.flatnonzero(trimmed)[0]
    np.testing.assert_array_equal(trimmed, padded[start : start + len(trimmed)])


def test_trimming_by_level_is_relative_to_the_loudest_frame():
    quiet = 10 ** (-40 / 20) * voice(0.5)
    padded = np.concatenate([quiet, voice(0.5)])
    assert len(by_level(padded, 60, 0)) == len(padded)
    assert len(by_level(padded, 25, 0)) == pytest.approx(len(padded) / 2, abs=240)


@pytest.mark.parametrize("samples", [voice(), silence(0.1), silence(0.0)])
def test_trimming_leaves_sound_and_silence_whole(samples):
    np.testing.assert_array_equal(by_level(samples), samples)


def test_the_vad_hears_speech_where_noise_is_too_loud_for_the_level(spoken):
    """Noise 25 dB under the voice: by level there is no silence, silero-vad finds the sentence's ends."""
    padded = np.concatenate([silence(1.0), spoken[0], silence(1.0)])
    rms = np.sqrt(np.square(spoken[0]).mean())
    noise = 10 ** (-25 / 20) * rms * np.random.default_rng(0).standard_normal(len(padded))
    noisy = (padded + noise).astype(np.float32)
    assert len(by_level(noisy)) == len(noisy)
    trimmed = pauses.trimmed(noisy, RATE_HZ, pauses.by_vad(noisy, RATE_HZ), 0.1)
    assert len(spoken[0]) / RATE_HZ - 0.1 < len(trimmed) / RATE_HZ < len(spoken[0]) / RATE_HZ + 0.5


def test_what_the_vad_cannot_hear_is_rejected_and_not_kept_in_silence(workplace):
    wanted = Normalize(trim="vad")
    hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)
    utterance = Utterance("a", save(Path("a.wav"), hum).as_posix(), "Olá, mundo", "ana", "pt")
    with pytest.raises(ClipError, match=REMEDIES["no-speech"]) as caught:
        normalize.prepared(utterance, wanted, RATE_HZ)
    assert caught.value.code == "no-speech"


# --- cuts through a recording


def activity(drawn: str) -> Activity:
    """`x` is heard and `.` is not, each 0.1 s."""
    return Activity(np.array([c == "x" for c in drawn]), 0.1)


@pytest.mark.parametrize(
    ("drawn", "at_s", "reach_s", "expected_s"),
    [
        ("xxx..xxx", 0.4, 0.2, 0.4),  # in a pause it stays
        ("xxx..xxx", 0.3, 0.2, 0.3),  # at its edge too
        ("xxx..xxx", 0.25, 0.2, 0.36),  # before it: half of 0.12 s into it
        ("xxx..xxx", 0.65, 0.2, 0.44),  # behind it
        ("xxx..xxx", 0.65, 0.1, 0.65),  # out of reach
        ("xxx.xxxx", 0.25, 0.2, 0.25),  # 0.1 s is the closure of a stop
        ("..xxxx....", 0.3, 0.2, 0.14),  # the nearer of two
        ("xxxxxxxx", 0.1, 0.2, 0.0),  # the recording begins there
        ("xxxxxxxx", 0.7, 0.2, 0.8),
        ("xxxxxxxx", 0.4, 0.2, 0.4),
    ],
)
def test_a_cut_moves_to_the_nearest_pause_in_reach(drawn, at_s, reach_s, expected_s):
    size = round(len(drawn) * 0.1 * RATE_HZ)
    found = pauses.moved(round(at_s * RATE_HZ), size, RATE_HZ, activity(drawn), reach_s)
    assert found / RATE_HZ == pytest.approx(expected_s, abs=1e-3)


@pytest.mark.parametrize("trim", typing.get_args(typing.get_type_hints(Normalize)["trim"]))
@pytest.mark.parametrize("error_s", [-0.15, 0.15])
def test_pieces_whose_times_are_wrong_are_the_clips_all_the_same(spoken, workplace, trim, error_s):
    """Both ends of a sentence are listed 0.15 s too early or late."""
    gap = silence(0.4)
    recording = np.concatenate([spoken[0], gap, spoken[1], gap, spoken[2]])
    path = save(Path("all.wav"), recording, subtype="FLOAT")
    start_s = (len(spoken[0]) + len(gap)) / RATE_HZ
    end_s = start_s + len(spoken[1]) / RATE_HZ
    piece = Utterance("a", path.as_posix(), SENTENCES[1], "ana", "pt", start_s=start_s, end_s=end_s)
    wanted = Normalize(trim=trim, cut_margin_s=0.3)
    listed = replace(piece, start_s=start_s + error_s, end_s=end_s + error_s)
    values, _ = normalize.prepared(listed, wanted, RATE_HZ)
    assert -0.05 < values["duration_s"] - len(spoken[1]) / RATE_HZ < 0.35
    uncut, _ = normalize.prepared(listed, Normalize(trim=trim, cut_margin_s=0.0), RATE_HZ)
    assert uncut["duration_s"] < values["duration_s"] - 0.08


def test_ends_that_would_cross_stay(workplace):
    recording = np.concatenate([voice(0.5), silence(0.3), voice(0.5)])
    path = save(Path("all.wav"), recording)
    samples, rate_hz, first, last = audio.read_around(path, 0.48, 0.82, 0.5)
    assert (len(samples), first, last) == (len(recording), round(0.48 * RATE_HZ), round(0.82 * RATE_HZ))
    piece = pauses.cut(samples, rate_hz, first, last, Normalize(cut_margin_s=0.05))
    assert 0 < len(piece) <= last - first


def test_what_is_around_a_piece_ends_with_the_recording(workplace):
    path = save(Path("all.wav"), voice(2.0), subtype="FLOAT")
    for start_s, end_s, around_s in ((0.5, 1.0, 0.2), (0.1, 1.9, 0.5), (0.5, None, 0.1)):
        samples, _, first, last = audio.read_around(path, start_s, end_s, around_s)
        np.testing.assert_array_equal(samples[first:last], audio.read(path, start_s, end_s)[0])
        begin = max(0, round((start_s - around_s) * RATE_HZ))
        np.testing.assert_array_equal(samples, voice(2.0)[begin : begin + len(samples)])


# --- high-pass


def test_a_high_pass_takes_the_rumble_and_leaves_the_voice():
    """24 dB an octave below 60 Hz; nothing is lost three octaves above."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    for frequency_hz, expected_db in ((30, -24.1), (60, -3.0), (480, 0.0)):
        tone = np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)
        left = audio.high_pass(tone, RATE_HZ, 60.0)[RATE_HZ:]
        gain_db = 10 * np.log10(np.square(left).mean() / np.square(tone[RATE_HZ:]).mean())
        assert gain_db == pytest.approx(expected_db, abs=0.1), frequency_hz


def test_the_stage_trims_by_the_vad_in_its_sandbox_and_bytes_repeat(spoken, workplace):
    """The network runs in a forked worker, under its limits of memory and time."""
    clips = []
    for number, samples in enumerate(spoken):
        padded = np.concatenate([silence(1.0), samples, silence(1.0)])
        path = save(Path(f"{number}.wav"), padded)
        clips.append(Utterance(f"c{number}", path.as_posix(), SENTENCES[number], "ana", "pt"))
    manifest.write(Path("manifest/00.jsonl"), clips)
    settings = Settings(normalize=Normalize(trim="vad", trim_margin_s=0.1, high_pass_hz=60.0))
    made = []
    for out in (Path("first"), Path("second")):
        metrics = normalize.run(settings, model=Path("m"), manifest=Path("manifest"), shard="00", out=out)
        assert (metrics["clips"], metrics["rejected"]) == (3, 0)
        made.append({path.name: files.sha256(path) for path in out.glob("*.wav")})
    assert made[0] == made[1]
    for utterance, samples in zip(manifest.read(Path("first/manifest.jsonl")), spoken, strict=True):
        assert -0.05 < utterance.duration_s - len(samples) / RATE_HZ < 0.5
