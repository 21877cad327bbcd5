"""How long a text is expected to take: hand-checked cases in several scripts, and real speech."""

import pytest

from sotaque import espeak
from sotaque.backends import durations
from sotaque.backends.durations import expected_s, limit_frames, limit_s


@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [
        ("Oi.", "pt", 2 * 0.08 + 0.5),
        ("", "pt", 0.5),
        ("a", "pt", 0.5),
        ("Olá, mundo", "pt-br", 8 * 0.08 + 0.3),
        ("1984", "en", 4 * 0.6),
        ("R$ 5,50", "pt", 0.08 + 0.6 + 3 * 0.6 + 0.3),
        ("100 %", "es", 3 * 0.6 + 0.6),
        ("“não”", "pt", 0.5),
        ("ação e reação", "pt", 11 * 0.08),
        ("ac\u0327a\u0303o e reac\u0327a\u0303o", "pt", 11 * 0.08),
        ("كيف حالك؟", "ar", 7 * 0.11 + 0.5),
        ("كَيْفَ حالُكَ؟", "ar", 7 * 0.11 + 0.5),
        ("今天天气很好。", "zh", 6 * 0.25 + 0.5),
        ("今日は天気", "ja", 4 * 0.35 + 0.14),
        ("안녕하세요", "ko", 5 * 0.2),
        ("สวัสดีครับ", "th", 7 * 0.12),
        ("नमस्ते दुनिया", "hi", 7 * 0.12),
        ("Привет, мир!", "ru", 9 * 0.08 + 0.3 + 0.5),
        ("🙂🙂🙂", "en", 0.5),
        ("\u0663\u0664", "ar", 2 * 0.6),
    ],
)
def test_by_hand(text, language, seconds):
    assert expected_s(text, language) == pytest.approx(max(0.5, seconds))


def test_a_script_without_spaces_is_not_one_word():
    assert expected_s("今天天气很好" * 10, "zh") == pytest.approx(10 * expected_s("今天天气很好", "zh"))


def test_the_limit_leaves_room_for_slow_speakers_and_pauses():
    assert limit_s("Oi.", "pt") == pytest.approx(3 * 0.66 + 2)
    assert limit_s("", "pt") == pytest.approx(3.5)


@pytest.mark.parametrize("words_a_minute", [80, 175, 260])
@pytest.mark.parametrize(
    ("voice", "language", "text"),
    [
        ("pt-br", "pt", "O gato dorme perto da janela, e a chuva cai sobre a cidade em 1984."),
        ("es", "es", "¿Cuánto cuesta el pan? Cuesta 2,50 euros; y la leche, 99 céntimos."),
        ("en-us", "en", "The train to London leaves at half past nine, from platform number 12."),
        ("ar", "ar", "كيف حالك اليوم، وأين تسكن الآن؟"),
        ("pt-br", "pt", "Oi."),
    ],
)
def test_real_speech_ends_before_its_limit(voice, language, text, words_a_minute):
    """espeak-ng at less than half its usual speed, at the usual, and at one and a half times."""
    samples, rate_hz = espeak.speak(text, voice, words_a_minute)
    spoken_s = len(samples) / rate_hz
    assert spoken_s < limit_s(text, language)
    if words_a_minute == 175 and len(text) > 10:
        assert 0.5 < spoken_s / expected_s(text, language) < 1.5


def test_frames_are_bounded_by_the_user_and_by_the_room():
    text, rate_hz = "Oi.", 12.5
    free = int(limit_s(text, "pt") * rate_hz)
    assert limit_frames(text, "pt", rate_hz, room_frames=1000) == free == 49
    assert limit_frames(text, "pt", rate_hz, room_frames=1000, max_s=2.0) == 25
    assert limit_frames(text, "pt", rate_hz, room_frames=1000, max_s=600.0) == free
    assert limit_frames(text, "pt", rate_hz, room_frames=7) == 7
    assert limit_frames(text, "pt", rate_hz, room_frames=1000, max_s=0.01) == 1


def test_every_rate_is_a_time():
    values = [*durations.SCRIPT_S.values(), *durations.PAUSES_S.values(), durations.LETTER_S]
    assert all(0.05 < value <= 0.6 for value in values)
