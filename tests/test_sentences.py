"""The demonstration's texts: enough of them, well formed, and never leaking between the parts."""

import itertools
import random

import pytest

from sotaque.data import words as words_module
from sotaque.data.sentences import Grammar, _distinct, demonstration, is_reserved, novel_words, training_texts
from sotaque.data.words import (
    LANGUAGES,
    bare,
    conjugate,
    is_novel,
    lexicon,
    number,
    plural,
    templates,
    time_of_day,
    words,
)
from sotaque.errors import InputError

LEAST_WORDS = {"pt": 3000, "es": 2000, "en": 800}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_domain_is_large_enough(language):
    assert len(words(language)) >= LEAST_WORDS[language]
    assert len(templates(language)) >= 20
    assert len([w for w in words(language) if is_novel(w, language)]) >= 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_parts_of_a_demonstration_do_not_leak(language):
    made = demonstration(language, 300, 40, 20, seed=3)
    by_part = {part: {bare(s.text) for s in made if s.part == part} for part in ("train", "test", "novel")}
    assert {part: len(texts) for part, texts in by_part.items()} == {"train": 300, "test": 40, "novel": 20}
    for one, other in itertools.combinations(by_part.values(), 2):
        assert not one & other
    assert all(is_reserved(s.text) for s in made)
    assert all(bool(novel_words(s.text, language)) == (s.part == "novel") for s in made)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_training_text_is_reserved_or_holds_a_novel_word(language):
    for text in itertools.islice(training_texts(language, 1, 0.5, 1, 6), 2000):
        assert not is_reserved(text), text
        assert not novel_words(text, language), text


def test_reservation_ignores_case_and_punctuation():
    for text in ("Que horas são?", "Bom dia, Ana, tudo bem com você?"):
        assert is_reserved(text) == is_reserved(bare(text)) == is_reserved(text.upper())


def test_one_seed_one_demonstration():
    assert demonstration("pt", 20, 5, 5, seed=1) == demonstration("pt", 20, 5, 5, seed=1)
    assert demonstration("pt", 20, 5, 5, seed=1) != demonstration("pt", 20, 5, 5, seed=2)


def test_half_of_the_training_texts_are_random_words():
    train = [s.text for s in demonstration("pt", 100, 1, 0, seed=1) if s.part == "train"]
    assert sum(text[0].islower() for text in train) == 50


def test_asking_for_too_many_sentences_says_how_many_there_are():
    with pytest.raises(InputError, match="of 5 distinct"):
        _distinct(lambda: "the same text", bool, 5, set())


@pytest.mark.parametrize(
    ("value", "language", "said"),
    [
        (0, "pt", "zero"), (21, "pt", "vinte e um"), (90, "pt", "noventa"), (22, "es", "veintidós"),
        (21, "es", "veintiuno"), (35, "es", "treinta y cinco"), (99, "en", "ninety nine"),
    ],
)  # fmt: skip
def test_numbers(value, language, said):
    assert number(value, language) == said


@pytest.mark.parametrize(
    ("hour", "minute", "language", "said"),
    [
        (2, 30, "pt", "duas e meia"), (7, 0, "pt", "sete horas"), (4, 15, "es", "cuatro y cuarto"),
        (9, 0, "en", "nine o'clock"), (6, 30, "en", "half past six"),
    ],
)  # fmt: skip
def test_times(hour, minute, language, said):
    assert time_of_day(hour, minute, language) == said


@pytest.mark.parametrize(
    ("word", "language", "more"),
    [
        ("mão", "pt", "mãos"), ("pão", "pt", "pães"), ("estação", "pt", "estações"), ("luz", "pt", "luzes"),
        ("papel", "pt", "papéis"), ("casa", "pt", "casas"),
        ("luz", "es", "luces"), ("pan", "es", "panes"), ("city", "en", "cities"), ("box", "en", "boxes"),
        ("lápis", "pt", None),
    ],
)  # fmt: skip
def test_plurals(word, language, more):
    assert plural(word, language) == more


def test_verbs_are_regular_by_their_ending():
    assert {"falar", "falo", "falamos", "falou", "falando"} <= set(conjugate("falar", "pt"))
    assert {"vivir", "vivimos", "viviendo"} <= set(conjugate("vivir", "es"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_slot_of_every_template_can_be_filled(language):
    grammar = Grammar(language, random.Random(1))
    for _ in range(1500):
        text = grammar.template()
        assert "{" not in text
        assert text == text.strip()
    assert set(lexicon(language)) >= {"name", "city", "verb", "adjective", "number"}


def test_an_unknown_language_is_named():
    with pytest.raises(InputError, match="'xx'"):
        words_module.lexicon("xx")
