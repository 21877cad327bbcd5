"""Failed clips by kind, on clips made by hand: a rule applies just above its threshold and not below."""

import numpy as np
import pytest

import spoken
from conftest import ROOT
from sotaque import audio
from sotaque.metrics import failures
from sotaque.metrics.failures import Clip, classify

DOCUMENT = ROOT / "docs/metrics.md"
RATE_HZ = 16_000
TEXT = ["o", "gato", "dorme", "perto", "da", "janela"]


def tone(duration_s: float, level_dbfs: float = -20.0, closing_s: float = 0.05) -> np.ndarray:
    """A sine of so many dBFS (RMS), then digital silence."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    sine = np.sin(2 * np.pi * 300 * time_s) * np.sqrt(2) * 10 ** (level_dbfs / 20)
    return np.concatenate([sine, np.zeros(round(closing_s * RATE_HZ))])


def clip(duration_s=2.0, words=TEXT, reference=TEXT, recording_s=2.0, stopped=True, **sound) -> Clip:
    return Clip(tone(duration_s, **sound), RATE_HZ, recording_s, stopped, reference, words)


def test_a_good_clip_has_no_failure():
    assert classify(clip()) is None
    assert classify(clip(stopped=None)) is None
    assert classify(Clip(tone(2.0), RATE_HZ)) is None, "nothing is known beside the sound"


@pytest.mark.parametrize("samples", [None, np.zeros(0), np.full(799, 0.5)])
def test_less_than_50_ms_is_empty(samples):
    assert classify(Clip(samples, RATE_HZ)) == "empty"


def test_50_ms_are_not_empty():
    assert classify(Clip(np.full(800, 0.5), RATE_HZ)) is None


@pytest.mark.parametrize(("level_dbfs", "kind"), [(-61.0, "silent"), (-59.0, None)])
def test_silent_is_under_minus_60_dbfs(level_dbfs, kind):
    assert classify(clip(level_dbfs=level_dbfs)) == kind


def test_digital_silence_is_silent_and_one_short_sound_is_not():
    assert classify(Clip(np.zeros(RATE_HZ), RATE_HZ)) == "silent"
    samples = np.zeros(RATE_HZ)
    samples[8000:8480] = 0.1  # 30 ms
    assert classify(Clip(samples, RATE_HZ)) is None


def test_a_clip_that_the_model_did_not_end_is_at_the_limit():
    """Good words and silence after them do not excuse it."""
    assert classify(clip(stopped=False)) == "limit"
    assert classify(clip(stopped=False, closing_s=4.0)) == "limit"


@pytest.mark.parametrize(
    ("words", "closing_s", "kind"),
    [
        ("o gato dorme perto da", 0.0, "cut"),
        ("o gato dorme perto da", 0.05, None),  # the voice came to rest: a word was misheard or skipped
        ("o gato dorme perto da jan", 0.0, None),  # a word is there, though not the right one
        ("o gato dorme perto", 0.0, "cut"),
        ("o gato dorme perto de", 0.0, "cut"),  # the last word recognised is `perto`: two expected, one heard
        ("o gato dorme janela", 0.0, None),  # words are missing, but not the last one
        ("o gato dorme perto dajanela", 0.0, None),  # two words heard as one: no letter is missing
        ("o gato dorme perto da janela", 0.0, None),
    ],
)
def test_cut(words, closing_s, kind):
    assert classify(clip(words=words.split(), closing_s=closing_s)) == kind


def test_a_short_last_word_that_the_asr_drops_is_no_cut():
    assert (
        classify(clip(reference=["quero", "um", "pão", "sim"], words=["quero", "um", "pão"], closing_s=0))
        is None
    )


@pytest.mark.parametrize(("below_db", "kind"), [(29.0, "cut"), (31.0, None)])
def test_closing_silence_is_30_db_below_the_loudest(below_db, kind):
    samples = np.concatenate([tone(1.97, -20.0, 0), tone(0.03, -20.0 - below_db, 0)])
    assert classify(Clip(samples, RATE_HZ, 2.0, True, TEXT, TEXT[:4])) == kind


@pytest.mark.parametrize(("duration_s", "kind"), [(0.9, "cut"), (1.1, None)])
def test_where_no_word_is_recognised_the_length_decides(duration_s, kind):
    assert classify(clip(duration_s, words=["xyz"], closing_s=0.0)) == kind
    assert classify(clip(duration_s, words=[], closing_s=0.0)) == kind


@pytest.mark.parametrize(
    ("reference", "words", "kind"),
    [
        ("a b c d", "a b c d a b c d", "repeated"),
        ("a b c d", "a b c d b c d", "repeated"),
        ("a b c d", "a b c d c d", None),  # two words again: a stutter, or the ASR
        ("a b c d", "a b x x x x d", "repeated"),
        ("a b c d", "a b x x x d", None),
        ("a b c a b c", "a b c a b c", None),  # the text itself repeats
        ("a b c a b c", "a b c a b c a b c", "repeated"),
        ("a b c d e f", "a b c a b c", None),  # not beyond the text: misread
        ("a b", "a b a b", "repeated"),
        ("a", "a a", None),
        ("a", "a a a", "repeated"),
        ("", "a a a a", "repeated"),
    ],
)
def test_repeated(reference, words, kind):
    assert classify(clip(reference=reference.split(), words=words.split())) == kind


@pytest.mark.parametrize(
    ("duration_s", "recording_s", "kind"),
    [
        (3.6, 2.0, "too-long"),
        (3.4, 2.0, None),
        (4.0, 2.0, "too-long"),
        (1.3, 0.4, None),
        (1.5, 0.4, "too-long"),
        (9.0, None, None),
    ],
)
def test_too_long_is_far_longer_than_the_recording_and_a_second_more(duration_s, recording_s, kind):
    assert classify(clip(duration_s, recording_s=recording_s, closing_s=0.0)) == kind


def test_a_clip_with_several_faults_is_counted_once_under_the_first():
    worst = clip(9.0, words=["a"] * 9, stopped=False)
    assert classify(worst) == "limit"
    kinds = [classify(worst), classify(Clip(None, RATE_HZ)), None]
    counts = failures.count(kinds)
    assert tuple(counts) == failures.KINDS
    assert counts == dict.fromkeys(failures.KINDS, 0) | {"limit": 1, "empty": 1}
    assert set(failures.ABOUT) == set(failures.KINDS)


def test_every_kind_is_documented_in_the_order_in_which_it_applies():
    rows = [line.split("`")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row in failures.KINDS] == list(failures.KINDS)


@pytest.mark.parametrize("text", spoken.TEXTS)
def test_a_recording_of_its_own_text_has_no_failure(text):
    samples = spoken.wave(text, "pt-br+f1")
    duration_s, words = len(samples) / spoken.RATE_HZ, text.lower().strip(".?").split()
    assert classify(Clip(samples, spoken.RATE_HZ, duration_s, None, words, words)) is None


def test_a_recording_that_is_stopped_in_a_word_is_cut():
    """Half of real speech, with what an ASR would hear of it."""
    samples = spoken.wave(spoken.TEXTS[0], "pt-br+f1")
    levels = failures._frame_levels_dbfs(samples, spoken.RATE_HZ)
    middle = len(samples) - (len(levels) // 2) * round(failures.FRAME_S * spoken.RATE_HZ)
    loud = next(end for end in range(middle, 0, -240) if _is_loud(samples[:end]))
    cut = samples[:loud]
    words = spoken.TEXTS[0].lower().strip(".").split()
    duration_s = len(samples) / spoken.RATE_HZ
    assert classify(Clip(cut, spoken.RATE_HZ, duration_s, True, words, words[:3])) == "cut"
    quiet = audio.resample(np.concatenate([cut, np.zeros(2400, np.float32)]), spoken.RATE_HZ, RATE_HZ)
    assert classify(Clip(quiet, RATE_HZ, duration_s, True, words, words[:3])) is None


def _is_loud(samples: np.ndarray) -> bool:
    levels = failures._frame_levels_dbfs(samples, spoken.RATE_HZ)
    return levels[-1] > levels.max() - 10
