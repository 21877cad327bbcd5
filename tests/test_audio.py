"""audio: what is read is what was written, and no bad file passes as a shorter or silent clip."""

import os
import struct
import sys

import numpy as np
import pytest
import soundfile

from bad_sounds import RATE_HZ, flac_claiming, wav
from sotaque import audio
from sotaque.errors import ClipError
from sounds import save, voice


def code_of(call, *arguments) -> str:
    with pytest.raises(ClipError) as caught:
        call(*arguments)
    assert caught.value.reason
    return caught.value.code


# --- round trips


def test_written_16_bit_samples_come_back_exactly(tmp_path):
    samples = np.array([0.0, 1 / 32768, -1.0, 32767 / 32768, 0.5], dtype=np.float32)
    audio.write(tmp_path / "a.wav", samples, RATE_HZ)
    read, rate_hz = audio.read(tmp_path / "a.wav")
    assert rate_hz == RATE_HZ
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, samples)


def test_writing_clips_at_full_scale_instead_of_wrapping(tmp_path):
    audio.write(tmp_path / "a.wav", np.array([2.0, -2.0], dtype=np.float32), RATE_HZ)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0] * 32768, [32767, -32768])


def test_equal_samples_give_equal_bytes_and_nothing_is_left_beside_them(tmp_path):
    for name in "ab":
        audio.write(tmp_path / f"{name}.wav", voice(), RATE_HZ)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_writing_refuses_samples_that_are_no_numbers(tmp_path, bad):
    assert code_of(audio.write, tmp_path / "a.wav", np.array([0.0, bad]), RATE_HZ) == "not-finite"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("wav", {"subtype": "PCM_U8"}, 1 / 128),
        ("wav", {"subtype": "PCM_24"}, 1e-6),
        ("wav", {"subtype": "FLOAT"}, 0),
        ("wav", {"subtype": "ULAW"}, 0.02),
        ("wav", {"format": "WAVEX"}, 1e-4),
        ("wav", {"format": "RF64"}, 1e-4),
        ("wav", {"endian": "BIG"}, 1e-4),
        ("flac", {}, 1e-4),
        ("mp3", {}, 0.05),
        ("mp3", {"format": "WAV"}, 1e-4),
        ("wav", {"format": "MP3"}, 0.05),
    ],
)
def test_every_container_and_encoding_gives_the_same_sound(tmp_path, suffix, options, tolerance):
    path = save(tmp_path / f"a.{suffix}", voice(), RATE_HZ, **options)
    samples, rate_hz = audio.read(path)
    assert (len(samples), rate_hz) == (RATE_HZ, RATE_HZ)
    assert np.abs(samples - voice()).max() <= tolerance


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 96_000, 192_000])
def test_usual_rates_are_read_and_resampled_to_the_same_sound(tmp_path, rate_hz):
    samples, found_hz = audio.read(save(tmp_path / "a.wav", voice(0.5, rate_hz), rate_hz))
    assert found_hz == rate_hz
    resampled = audio.resample(samples, rate_hz, RATE_HZ)
    assert abs(len(resampled) - 0.5 * RATE_HZ) <= 1
    inner = slice(1200, -1200)
    np.testing.assert_allclose(resampled[:12_000][inner], voice(0.5)[: len(resampled)][inner], atol=2e-3)


# --- channels


def test_channels_are_averaged(tmp_path):
    left, right = voice(), voice(pitch_hz=200)
    read, _ = audio.read(save(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(read, (left + right) / 2, atol=1e-7)


def test_five_point_one_with_speech_in_one_channel_is_kept():
    channels = np.zeros((RATE_HZ, 6), dtype=np.float32)
    channels[:, 2] = voice()
    np.testing.assert_allclose(audio.to_mono(channels), voice() / 6, atol=1e-7)


def test_stereo_that_cancels_is_refused_not_silenced(tmp_path):
    path = save(tmp_path / "a.wav", np.stack([voice(), -voice()], axis=1))
    assert code_of(audio.read, path) == "anti-phase"


def test_silent_stereo_is_not_called_anti_phase():
    assert not audio.to_mono(np.zeros((10, 2), dtype=np.float32)).any()


# --- bad files


def whole(tmp_path, suffix="wav", seconds=1.0):
    path = save(tmp_path / f"whole.{suffix}", voice(seconds))
    return path, path.read_bytes()


def put(tmp_path, content: bytes):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.98])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix, share):
    _, content = whole(tmp_path, suffix, 3.0)
    path = put(tmp_path, content[: int(share * len(content))])
    assert code_of(audio.read, path) in {"empty", "truncated", "unreadable"}


def test_the_hand_made_headers_are_good_ones(tmp_path):
    """So that the bad files of test_bad_audio.py have the faults that they are made for, and no others."""
    assert audio.read_header(put(tmp_path, wav(2000))).frames == 1000
    _, content = whole(tmp_path, "flac")
    assert audio.read_header(put(tmp_path, flac_claiming(content, RATE_HZ))).frames == RATE_HZ


def test_a_flac_that_claims_a_little_more_than_it_holds_is_refused(tmp_path):
    _, content = whole(tmp_path, "flac")
    bad = put(tmp_path, flac_claiming(content, RATE_HZ + 5000))
    assert code_of(audio.read, bad) in {"truncated", "unreadable"}


def test_too_much_sound_is_refused(tmp_path, monkeypatch):
    path, _ = whole(tmp_path)
    monkeypatch.setattr(audio, "MAX_BYTES", 4 * RATE_HZ - 1)
    assert code_of(audio.read_header, path) == "too-large"
    monkeypatch.setattr(audio, "MAX_S", 0.9)
    assert code_of(audio.read_header, path) == "too-long"


def test_a_rf64_header_over_4_gb_without_the_data_is_refused(tmp_path):
    content = save(tmp_path / "a.wav", voice(), format="RF64").read_bytes()
    at = content.index(b"ds64") + 16
    forged = content[:at] + struct.pack("<Q", 5 * 2**30) + content[at + 8 :]
    assert code_of(audio.read_header, put(tmp_path, forged)) in {"truncated", "too-long", "too-large"}


@pytest.mark.parametrize("container", ["VOC", "IRCAM", "SVX"])
def test_a_container_that_hides_its_losses_is_refused_by_name(tmp_path, container):
    """libsndfile reads a cut or rotten file of these as a shorter one; FFmpeg is not asked to read them."""
    path = save(tmp_path / "a.wav", voice(), format=container)
    with pytest.raises(ClipError, match=container) as caught:
        audio.read_header(path)
    assert caught.value.code == "format"


def test_what_is_no_regular_file_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("pipe.wav", "nothing.wav", "."):
        assert code_of(audio.read_header, tmp_path / name) == "missing"
    assert code_of(audio.read_header, tmp_path / ("n" * 300 + ".wav")) == "missing"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="any bytes in names")
def test_a_wav_called_raw_is_refused_without_a_traceback(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(wav(2000))
    assert code_of(audio.read_header, path) == "unreadable"


# --- levels and rates


def test_resampling_to_the_same_rate_changes_nothing():
    np.testing.assert_array_equal(audio.resample(voice(), RATE_HZ, RATE_HZ), voice())


def test_resampling_leaves_no_image_of_what_the_new_rate_cannot_hold():
    time_s = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 10_000 * time_s).astype(np.float32)
    assert np.abs(audio.resample(tone, 48_000, 16_000)[400:-400]).max() < 1e-4


def test_files_of_other_programs_read_ours_alike(tmp_path):
    audio.write(tmp_path / "a.wav", voice(), RATE_HZ)
    samples, rate_hz = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(samples, audio.read(tmp_path / "a.wav")[0])
