"""text: normalisers by hand-made cases, and against openai-whisper's own."""

import importlib.util
import unicodedata
from pathlib import Path

import pytest

from sotaque import text
from sotaque.errors import InputError


@pytest.mark.parametrize(
    ("language", "written", "words"),
    [
        ("pt", "Ação não é só… “fé”!", "ação não é só fé"),
        ("pt", "Guarda-chuva, d'água", "guarda chuva d água"),
        ("pt", "São 21 às 10h30", "são 21 às 10h30"),
        ("pt", "[risos] Oi (tosse) <ruído> tchau", "oi tchau"),
        ("pt", "R$ 5,00", "r 5 00"),
        ("es", "¿Qué, ñandú? ¡Pingüino!", "qué ñandú pingüino"),
        ("en", "Don’t STOP\u00a0now", "don t stop now"),
        ("en", "ﬁne ℌ", "fine h"),
        ("ar", "أَحْمَد إلى آخر مدرسة", "احمد الي اخر مدرسه"),
        ("ar", "مـــرحبا، كيف؟", "مرحبا كيف"),
        ("ar", "ٱلسَّلَامُ", "السلام"),
        ("pt", "?!…", ""),
        ("pt", "😀 🎉", ""),
    ],
)
def test_words_of(language, written, words):
    assert text.normalize_for_wer(written, language) == words


@pytest.mark.parametrize("language", sorted(text.NORMALIZERS))
def test_composed_and_decomposed_spelling_are_the_same_words(language):
    for written in ("ação à noite", "mañana", "أحمد آخر"):
        decomposed = unicodedata.normalize("NFD", written)
        assert decomposed != written
        assert text.normalize_for_wer(decomposed, language) == text.normalize_for_wer(written, language)


@pytest.mark.parametrize("language", sorted(text.NORMALIZERS))
def test_normalising_twice_changes_nothing(language):
    once = text.normalize_for_wer("Olá, Mundo! [x] أَهلًا ½ ß İstanbul", language)
    assert text.normalize_for_wer(once, language) == once


def test_basic_agrees_with_whisper():
    package = Path(importlib.util.find_spec("whisper").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("whisper_basic", package / "normalizers/basic.py")
    whisper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(whisper)
    theirs = whisper.BasicTextNormalizer()
    for written in (
        "Ação não é só… “fé”!",
        "¿Qué? [música] (risas) ¡Niño!",
        "Don't — stop: it's 10:30, $5.00 & 3%",
        "ﬁne ℌ½ Ⅳ ①",
        "a\u0301bc <unk> (um) dois) três]",
        "É\u00a0noite\n\tjá",
    ):
        assert text.basic(written) == theirs(written).strip()


def test_an_unknown_language_names_the_known_ones():
    with pytest.raises(InputError, match=r"'xx'.*pt, es, en, ar"):
        text.normalize_for_wer("a", "xx")


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  Olá,\u00a0 mundo \r\n", "Olá, mundo"),
        ("ac\u0327a\u0303o", "ação"),
        ("\ufeffa\u200bb\u00adc\u202e\u2066", "abc"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\x00b", "a\x00b"),
        ("", ""),
    ],
)
def test_clean(raw, cleaned):
    assert text.clean(raw) == cleaned


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Oi", True),
        ("21", True),
        ("...", False),
        ("😀", False),
        ("[risos]", False),
        ("👨‍👩‍👧", False),
        ("", False),
    ],
)
def test_is_spoken(written, spoken):
    assert text.is_spoken(written, "pt") is spoken
