"""normalize: rate, loudness, peak, silence and channels by measurement of the files that it wrote."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sotaque import audio, files, loudness, manifest
from sotaque.data import normalize
from sotaque.errors import ClipError
from sotaque.manifest import Reject, Utterance
from sotaque.settings import Ingest, Normalize, Settings
from sounds import save, voice

WANTED = Normalize()
RATE_HZ = 24_000
OUT = Path("out")


@pytest.fixture(autouse=True)
def here(workplace):
    return workplace


def clip(samples, rate_hz=RATE_HZ, name="a", **options) -> Utterance:
    path = save(Path(f"{name}.wav"), samples, rate_hz, **options)
    return Utterance(name, path.as_posix(), "Olá", "ana", "pt", accent="pt-br", part="test", group="g")


def converted(utterance: Utterance, wanted=WANTED) -> Utterance:
    return normalize.stored(utterance, *normalize.prepared(utterance, wanted, RATE_HZ), OUT)


def convert(samples, rate_hz=RATE_HZ, wanted=WANTED, **options):
    """(utterance, samples of the WAV written)"""
    utterance = converted(clip(samples, rate_hz, **options), wanted)
    return utterance, audio.read(Path(utterance.audio))[0]


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("level", [0.01, 0.2, 0.9])
def test_every_clip_ends_at_the_same_rate_and_loudness(rate_hz, level):
    utterance, samples = convert(voice(2.0, rate_hz, level=level), rate_hz)
    info = soundfile.info(utterance.audio)
    assert (info.samplerate, info.channels, info.subtype, info.format) == (RATE_HZ, 1, "PCM_16", "WAV")
    assert loudness.loudness_lufs(samples, RATE_HZ) == pytest.approx(-23.0, abs=0.1)
    assert utterance.loudness_lufs == -23.0
    assert utterance.duration_s == pytest.approx(len(samples) / RATE_HZ, abs=1e-4)


def test_the_row_keeps_everything_else():
    source = clip(voice())
    made = converted(source)
    assert replace(made, audio=source.audio, duration_s=0.0, loudness_lufs=None) == source
    assert made.audio == "out/a.wav"


def test_a_clip_with_a_peak_stays_quieter_instead_of_clipping():
    samples = 0.05 * voice(2.0)
    samples[RATE_HZ] = 0.9
    utterance, made = convert(samples)
    assert 20 * np.log10(np.abs(made).max()) == pytest.approx(-1.0, abs=0.01)
    assert utterance.loudness_lufs < -24
    assert loudness.loudness_lufs(made, RATE_HZ) == pytest.approx(utterance.loudness_lufs, abs=0.1)


def test_float_samples_beyond_full_scale_are_brought_down_unclipped():
    _, loud = convert(20 * voice(2.0), subtype="FLOAT")
    _, usual = convert(voice(2.0), subtype="FLOAT")
    np.testing.assert_allclose(loud, usual, atol=2 / 32768)


def test_silence_at_the_ends_is_cut_but_for_the_margin():
    silence = np.zeros(RATE_HZ, dtype=np.float32)
    utterance, _ = convert(np.concatenate([silence, voice(1.0), silence]))
    assert utterance.duration_s == pytest.approx(1.0 + 2 * WANTED.trim_margin_s, abs=0.02)


def test_a_constant_offset_is_removed_and_does_not_hide_the_silence():
    silence = np.zeros(RATE_HZ, dtype=np.float32)
    utterance, samples = convert(np.concatenate([silence, voice(1.0), silence]) + 0.3, subtype="FLOAT")
    assert utterance.duration_s < 1.2
    assert abs(samples.mean()) < 1e-3


def test_stereo_becomes_the_mean_of_its_channels():
    _, mono = convert(voice(2.0))
    _, stereo = convert(np.stack([voice(2.0), voice(2.0)], axis=1))
    np.testing.assert_array_equal(mono, stereo)


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (voice(0.3), "too-short"),
        (np.concatenate([np.zeros(RATE_HZ), voice(0.2), np.zeros(RATE_HZ)]), "too-short"),
        (voice(3.1), "too-long"),
        (np.zeros(2 * RATE_HZ), "silent"),
        (1e-5 * voice(2.0), "silent"),
        (np.full(2 * RATE_HZ, 0.5), "silent"),
        (np.stack([voice(), -voice()], axis=1), "anti-phase"),
        (np.where(np.arange(RATE_HZ) == 5, np.nan, voice()), "not-finite"),
    ],
)
def test_a_clip_that_cannot_be_used_is_rejected_by_its_code(samples, code):
    with pytest.raises(ClipError) as caught:
        convert(samples, wanted=Normalize(max_s=3.0), subtype="FLOAT")
    assert caught.value.code == code
    assert not OUT.exists() or not list(OUT.iterdir())


def shard(utterances) -> dict[str, float]:
    manifest.write(Path("manifest/00.jsonl"), utterances)
    settings = Settings(ingest=Ingest(max_rejected_share=0.5))
    return normalize.run(settings, model=Path("m"), manifest=Path("manifest"), shard="00", out=OUT)


def test_the_shard_goes_on_after_a_bad_clip_and_its_counts_add_up(caplog):
    good = [clip(voice(1.0 + n / 4), name=f"good{n}") for n in range(3)]
    cut = clip(voice(), name="cut")
    Path("cut.wav").write_bytes(Path("cut.wav").read_bytes()[:1000])
    gone = replace(cut, id="gone", audio="gone.wav")
    metrics = shard([*good, cut, gone])
    kept = manifest.read(OUT / "manifest.jsonl")
    rejects = manifest.read(OUT / "rejects.jsonl", Reject)
    assert [u.id for u in kept] == ["good0", "good1", "good2"]
    assert {(r.id, r.stage, r.code) for r in rejects} == {
        ("cut", "normalize", "truncated"),
        ("gone", "normalize", "missing"),
    }
    assert metrics == {
        "clips": 3,
        "rejected": 2,
        "hours": pytest.approx(3.75 / 3600),
        "below_target_loudness": 0,
    }
    assert "normalize 00: 2 of 5 clips rejected, 0." in caplog.text


def test_a_shard_without_clips_is_written_too():
    assert shard([])["clips"] == 0
    assert sorted(p.name for p in OUT.iterdir()) == ["manifest.jsonl", "rejects.jsonl"]


def test_two_runs_give_the_same_bytes():
    clips = [clip(voice(1.0, 22_050, pitch_hz=100 + n), 22_050, f"c{n}") for n in range(4)]
    shard(clips)
    first = {p.name: files.sha256(p) for p in files.walk(OUT)}
    shard(clips)
    assert first == {p.name: files.sha256(p) for p in files.walk(OUT)}
    assert len(first) == 6


def test_the_manifest_holds_plain_numbers_and_paths_of_the_working_folder():
    shard([clip(voice())])
    row = json.loads((OUT / "manifest.jsonl").read_text())
    assert (row["audio"], row["duration_s"], row["loudness_lufs"]) == ("out/a.wav", 1.0, -23.0)
