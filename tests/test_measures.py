"""Measures against signals whose value can be worked out by hand."""

import typing

import numpy as np
import pytest
from tokenizers import Tokenizer, models

import tiny
from sotaque import audio, vad
from sotaque.data import measure, pauses
from sotaque.data.measures import characters, codec, limits, relative, signal
from sotaque.data.measures.table import Table
from sotaque.espeak import speak
from sotaque.manifest import Utterance
from sotaque.settings import Code, Quality

RATE_HZ = 24_000


def tone(frequency_hz: float = 100.0, duration_s: float = 1.0, amplitude: float = 1.0):
    """(T,) whole periods of a sine."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return amplitude * np.sin(2 * np.pi * frequency_hz * time_s)


def noise(duration_s: float, rate_hz: int = RATE_HZ, seed: int = 0):
    """(T,) white, of power 1"""
    return np.random.default_rng(seed).standard_normal(round(duration_s * rate_hz))


@pytest.mark.parametrize(("amplitude", "expected_dbfs"), [(1.0, 0.0), (0.5, -6.0206), (0.1, -20.0)])
def test_the_peak_of_a_sine_is_its_amplitude(amplitude, expected_dbfs):
    assert signal.peak_dbfs(tone(amplitude=amplitude)) == pytest.approx(expected_dbfs, abs=1e-3)


def test_whole_periods_have_only_the_offset_that_was_added():
    assert signal.dc_offset(tone()) == pytest.approx(0.0, abs=1e-12)
    assert signal.dc_offset(tone() * 0.5 - 0.03) == pytest.approx(-0.03)


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_a_sine_of_twice_full_scale_is_clipped_for_two_thirds_of_its_time(gain):
    """|2 sin x| > 1 where |sin x| > 1/2: 30 to 150 of every 180 degrees; made quieter it stays so."""
    clipped = gain * np.clip(tone(100, amplitude=2.0), -1.0, 1.0)
    assert signal.clipped_share(clipped) == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize("wave", [tone(100), tone(3000), 0.1 * noise(1.0), np.zeros(100)])
def test_what_is_not_clipped_has_no_flat_tops(wave):
    assert signal.clipped_share(np.rint(wave * 2**15) / 2**15) == 0.0


def test_two_equal_samples_are_no_flat_top_and_three_are():
    assert signal.clipped_share(np.array([0, 0.5, 0.5, 0, -0.2])) == 0.0
    assert signal.clipped_share(np.array([0, 0.5, 0.5, 0.5, -0.2])) == pytest.approx(3 / 5)


def test_an_upsampled_clip_ends_at_its_old_nyquist():
    upsampled = audio.resample(0.1 * noise(1.0, 16_000), 16_000, RATE_HZ)
    in_16_bit = np.rint(upsampled * 2**15) / 2**15
    assert 7_500 < signal.bandwidth_hz(in_16_bit, RATE_HZ) < 8_300
    assert signal.bandwidth_hz(0.1 * noise(1.0), RATE_HZ) > 11_900


def test_the_bandwidth_of_a_tone_is_its_frequency():
    assert signal.bandwidth_hz(tone(3000), RATE_HZ) == pytest.approx(3000, abs=100)
    assert signal.bandwidth_hz(np.zeros(RATE_HZ), RATE_HZ) == 0.0


@pytest.mark.parametrize("snr_db", [40, 20, 10])
def test_noise_added_at_a_known_ratio_is_found(snr_db):
    """Bursts of 16 frames with as long pauses; noise whose power is the bursts' over 10^(SNR/10)."""
    speech = np.tile(np.repeat([1.0, 0.0], 16), 4).astype(np.float32)
    on = np.repeat(speech, round(vad.FRAME_S * RATE_HZ))
    bursts = on * tone(200, len(on) / RATE_HZ, amplitude=0.2)
    power = np.square(bursts[on > 0]).mean()
    noisy = bursts + noise(len(on) / RATE_HZ) * np.sqrt(power / 10 ** (snr_db / 10))
    assert signal.snr_db(noisy, RATE_HZ, speech) == pytest.approx(snr_db, abs=1.2)


def test_the_rounding_of_16_bits_bounds_the_ratio():
    silent = np.concatenate([tone(200, amplitude=0.2), np.zeros(RATE_HZ)])
    speech = np.repeat([1.0, 0.0], -(-len(silent) // 768 // 2)).astype(np.float32)
    assert 60 < signal.snr_db(silent, RATE_HZ, speech) < 101
    assert signal.snr_db(np.zeros(10), RATE_HZ, speech) == signal.LOWEST_SNR_DB


def test_silence_is_the_share_of_frames_without_speech():
    assert signal.silence_share(np.array([0.9, 0.5, 0.49, 0.0])) == 0.5
    assert signal.silence_share(np.zeros(0)) == 1.0


def test_a_sentence_between_pauses_of_known_length():
    samples, rate_hz = speak("Amanhã vou à praia com a minha avó.", "pt-br+f1")
    spoken = pauses.trimmed(samples, rate_hz, pauses.by_level(samples, rate_hz, 45.0), 0.0)
    silence = np.zeros(len(spoken) // 2, np.float32)
    speech = vad.speech_probability(np.concatenate([silence, spoken, silence]), rate_hz)
    assert signal.silence_share(speech) == pytest.approx(0.5, abs=0.08)


def test_a_modified_z_score_by_hand():
    """Of 1..9 and 100 the median is 5.5 and the median deviation 2.5."""
    values = np.array([*range(1, 10), 100.0])
    z = relative.robust_z(values, ["pt"] * 10)
    assert z[-1] == pytest.approx(0.6745 * 94.5 / 2.5)
    assert z[0] == pytest.approx(-0.6745 * 4.5 / 2.5)


def test_where_most_are_equal_the_mean_deviation_stands_in():
    """Eight of 5, a 4 and a 6: the mean deviation is 0.2."""
    z = relative.robust_z(np.array([5.0] * 8 + [4.0, 6.0]), [""] * 10)
    assert z.tolist() == pytest.approx([0.0] * 8 + [-1 / (1.253314 * 0.2), 1 / (1.253314 * 0.2)])
    assert not relative.robust_z(np.full(10, 5.0), [""] * 10).any()


def test_groups_are_held_against_themselves_and_small_ones_not_at_all():
    slow, fast = np.linspace(9, 11, 11), np.linspace(19, 21, 11)
    names = ["pt"] * 11 + ["es"] * 11 + ["en"] * 9
    z = relative.robust_z(np.concatenate([slow, fast, np.full(9, 50.0)]), names)
    assert np.abs(z[:22]).max() < 2
    assert np.isnan(z[22:]).all()
    unknown = relative.robust_z(np.array([np.nan, *slow]), ["pt"] * 12)
    assert np.isnan(unknown[0])
    assert np.isfinite(unknown[1:]).all()


def test_earlier_copies_are_counted():
    assert relative.earlier("abaca").tolist() == [0, 0, 1, 0, 2]


def test_characters_with_and_without_a_token(tmp_path):
    tiny.tokenizer(tiny.SMALL).save(str(tmp_path / "bytes.json"))
    by_bytes = characters.Alphabet(tmp_path / "bytes.json")
    assert [by_bytes.kind(c) for c in "aã日 "] == ["token", "bytes", "bytes", "token"]
    assert by_bytes.unknown("ação 日本") == 0
    letters = Tokenizer(models.BPE(vocab={"[UNK]": 0, "a": 1, "b": 2}, merges=[], **{"unk_token": "[UNK]"}))
    letters.save(str(tmp_path / "letters.json"))
    by_letters = characters.Alphabet(tmp_path / "letters.json")
    assert [by_letters.kind(c) for c in "abc"] == ["token", "token", "unknown"]
    assert by_letters.unknown("abc cab") == 2, "a space that is no token is no letter either"
    assert characters.Alphabet.of(tmp_path) is None


def test_the_codec_distance_of_half_the_level_is_6_db():
    wave = 0.1 * noise(0.5).astype(np.float32)
    assert codec.distance_db(wave, wave, RATE_HZ) == 0.0
    assert codec.distance_db(wave, wave / 2, RATE_HZ) == pytest.approx(6.0206, abs=0.01)
    assert codec.distance_db(wave, np.zeros_like(wave), RATE_HZ) > 30


def test_every_code_has_one_limit_whose_setting_exists():
    assert tuple(limits.BY_CODE) == typing.get_args(Code)
    keys = [limit.setting for limit in limits.LIMITS]
    assert set(keys) | {"drop", "max_dropped_share"} == set(vars(Quality()))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("code", "values", "bound", "expected"),
    [
        ("noisy", [9.9, 10.0, 10.1, np.nan], 10.0, [True, False, False, False]),
        ("clipped", [0.0, 0.01, 0.02, np.nan], 0.01, [False, False, True, False]),
        ("speaking-rate", [-4.0, -3.5, 3.5, 4.0], 3.5, [True, False, False, True]),
        ("dc-offset", [-0.02, 0.01, 0.0, 0.02], 0.01, [True, False, False, True]),
    ],
)
def test_a_clip_on_the_limit_is_not_beyond_it(code, values, bound, expected):
    limit = limits.BY_CODE[code]
    table = Table(["a", "b", "c", "d"], {}, {limit.measure: np.array(values)}, {})
    assert limit.beyond(table, bound).tolist() == expected
    worst = np.nanargmax(limit.badness(table))
    assert expected[worst], "the worst clip is beyond the limit"


def test_the_rate_of_speech_counts_letters_as_written_and_equal_sentences_are_found_in_any_spelling(tmp_path):
    samples = tone(duration_s=2.0, amplitude=0.1).astype(np.float32)
    audio.write(tmp_path / "a.wav", samples, RATE_HZ)
    rows = []
    for written in ("Vinte e um.", "21"):
        clip = Utterance("a", (tmp_path / "a.wav").as_posix(), written, "ana", "pt", duration_s=2.0)
        rows.append(measure.measured(clip, clip, None))
    assert [row.characters_per_s for row in rows] == [10 / 2, 2 / 2]
    assert rows[0].sentence_sha256 == rows[1].sentence_sha256
