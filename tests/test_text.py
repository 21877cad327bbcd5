"""text, languages, normalisers: cases made by hand, openai-whisper's own, and what holds for every text."""

import importlib.util
import itertools
import random
import re
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

import spelling_pairs
from sotaque import languages, text
from sotaque.errors import InputError

RULED = ("pt", "es", "en", "ar")


@pytest.mark.parametrize(
    ("language", "written", "words"),
    [
        ("pt", "Ação não é só… “fé”!", "ação não é só fé"),
        ("pt", "Guarda-chuva, d'água", "guarda chuva d água"),
        ("pt", "São 21 às 10h30", "são 21 às 10 e 30"),
        ("pt", "[risos] Oi (tosse) <ruído> tchau", "risos oi tosse ruído tchau"),
        ("pt", "R$ 5,00", "5 reais"),
        ("pt", "R$ 0,01 e R$ 1.234.567,89", "um centavo e 1234567 reais e 89 centavos"),
        ("pt", "versão 1.2.3 de 12.05.2024", "versão um 2 3 de 12 05 2024"),
        ("pt", "o quarto quarto", "o quarto quarto"),
        ("pt", "22º, décimo segundo", "22o 12o"),
        ("es", "¿Qué, ñandú? ¡Pingüino!", "qué ñandú pingüino"),
        ("es", "0,500 y 3.141,59", "0,500 y 3141,59"),
        ("en", "Don’t STOP\u00a0now", "do not stop now"),
        ("en", "ﬁne ℌ", "fine h"),
        ("en", "Oh no, O Lord! One oh one.", "oh no o lord 101"),
        ("en", "Hmm.", "hmm"),
        ("ar", "أَحْمَد إلى آخر مدرسة", "احمد الي اخر مدرسه"),
        ("ar", "مـــرحبا، كيف؟", "مرحبا كيف"),
        ("ar", "ٱلسَّلَامُ", "السلام"),
        ("hi", "हिन्दी में (हाँ)", "हिन्दी में हाँ"),
        ("yo", "Ọ̀rẹ́ mi", "ọ̀rẹ́ mi"),
        ("fr", "L’été, c'est l'été", "l été c est l été"),
        ("de", "21 ist einundzwanzig", "21 ist einundzwanzig"),
        ("zh", "你好，世界 3!", "你 好 世 界 3"),
        ("pt", "?!…", ""),
        ("pt", "😀 🎉 1️⃣", "um"),
    ],
)
def test_words_of(language, written, words):
    assert text.normalize_for_wer(written, language) == words


@pytest.mark.parametrize(("language", "alike", "one", "other"), spelling_pairs.read())
def test_pairs_checked_by_hand(language, alike, one, other):
    first, second = (text.normalize_for_wer(written, language) for written in (one, other))
    assert (first == second) == alike, (first, second)


@pytest.mark.parametrize("language", RULED)
def test_there_are_enough_pairs(language):
    alike = [pair[1] for pair in spelling_pairs.read() if pair[0] == language]
    assert alike.count(True) >= 25
    assert alike.count(False) >= 10


def test_the_page_shows_the_pairs_and_the_languages():
    page = spelling_pairs.PAGE.read_text(encoding="utf-8")
    assert page == spelling_pairs.rendered(page), "run python tests/spelling_pairs.py"


@pytest.mark.parametrize("language", sorted(languages.CODES))
def test_composed_and_decomposed_spelling_are_the_same_words(language):
    for written in ("ação à noite", "mañana", "أحمد آخر"):
        decomposed = unicodedata.normalize("NFD", written)
        assert decomposed != written
        assert text.normalize_for_wer(decomposed, language) == text.normalize_for_wer(written, language)


@pytest.mark.parametrize(("language", "written"), [(p[0], t) for p in spelling_pairs.read() for t in p[2:]])
def test_normalising_twice_changes_nothing(language, written):
    once = text.normalize_for_wer(written, language)
    assert text.normalize_for_wer(once, language) == once


def texts_of_words() -> list[tuple[str, str]]:
    """Texts without digits and abbreviations, in which points and commas mean something."""
    texts = [(pair[0], t) for pair in spelling_pairs.read() for t in pair[2:]]
    return [(language, t) for language, t in texts if not re.search(r"\d|\w\.\s?\w|\b\w{1,4}\.", t)]


@pytest.mark.parametrize(("language", "written"), texts_of_words())
def test_case_and_punctuation_between_words_change_nothing(language, written):
    """An ASR sets commas and full stops as it likes."""
    words = text.normalize_for_wer(written, language)
    assert text.normalize_for_wer(written.upper(), language) == words
    assert text.normalize_for_wer(written.replace(" ", ", "), language) == words
    assert text.normalize_for_wer(written.replace(" ", "... "), language) == words


UNITS = (
    *("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez", "onze", "doze"),
    *("treze", "catorze", "quinze", "dezesseis", "dezessete", "dezoito", "dezenove"),
)
TENS = ("vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa")
HUNDREDS = (
    *("cento", "duzentos", "trezentos", "quatrocentos", "quinhentos", "seiscentos", "setecentos"),
    *("oitocentos", "novecentos"),
)


def portuguese(value: int) -> str:
    """A number below a million in words."""
    if value >= 1000:
        thousands, rest = divmod(value, 1000)
        said = "mil" if thousands == 1 else f"{portuguese(thousands)} mil"
        joint = " e " if rest < 100 or rest % 100 == 0 else " "
        return said + (joint + portuguese(rest) if rest else "")
    if value >= 100:
        hundreds, rest = divmod(value, 100)
        if value == 100:
            return "cem"
        return HUNDREDS[hundreds - 1] + (f" e {portuguese(rest)}" if rest else "")
    if value >= 20:
        tens, rest = divmod(value, 10)
        return TENS[tens - 2] + (f" e {UNITS[rest]}" if rest else "")
    return UNITS[value]


def test_every_number_in_words_is_the_number_in_digits():
    values = [*range(2, 2100), *random.Random(1).sample(range(2100, 1_000_000), 1000)]
    for value in values:
        words = text.normalize_for_wer(f"Tem {portuguese(value)} anos.", "pt")
        assert (
            words
            == text.normalize_for_wer(f"tem {value:,} anos".replace(",", "."), "pt")
            == f"tem {value} anos"
        )


def test_nothing_breaks_a_normaliser_and_letters_always_leave_words():
    """Number words, signs and digits of each language in random order, and random characters."""
    rng = random.Random(1)
    vocabulary = sorted({word for pair in spelling_pairs.read() for t in pair[2:] for word in t.split()})
    signs = [
        "$",
        "R$",
        "%",
        "€",
        "-",
        ".",
        ",",
        ":",
        "h",
        "º",
        "ª",
        "°",
        "(",
        "]",
        "<",
        "'",
        "½",
        "²",
        "٫",
        "&",
    ]
    characters = [chr(c) for c in (*range(32, 0x600), *range(0x600, 0x700), 0x1F600, 0x200D, 0xFE0F, 0x20E3)]
    for round_, language in itertools.product(range(2000), RULED):
        pool = (vocabulary, [*vocabulary, *signs], characters)[round_ % 3]
        joint = ("", " ")[round_ % 2]
        written = joint.join(rng.choices(pool, k=rng.randint(1, 8)))
        words = text.normalize_for_wer(written, language)
        assert words == " ".join(words.split())
        assert not re.search(r"[()\[\]<>{}]", words)
        if any(unicodedata.category(c) in ("Ll", "Lu", "Lo", "Nd") for c in written):
            assert words, written


@pytest.mark.parametrize("language", RULED)
@pytest.mark.parametrize(
    "part",
    ["9", ".000", "1,", "1 ", "1:30 ", "1h", "R$ 9", "9%", "n.º", "(", "-", "a.", "mil ", "5 mil ", "ten ",
     "million ", "oh 1 ", "anti ", "ألف ", "خمسة و"],
)  # fmt: skip
def test_the_longest_transcript_of_one_thing_takes_no_time(language, part):
    start = time.process_time()
    for end in ("", " milhões e meio", " million", "%", "º", " €"):
        languages.get(language).normalizer.apply("1" + part * (10_000 // len(part)) + end)
    assert time.process_time() - start < 5, "a pattern whose time grows with the square takes minutes"


@pytest.mark.parametrize("language", RULED)
def test_a_hundred_thousand_texts_take_less_than_a_minute(language):
    """0.6 ms each; a text of 80 to 100 letters took 0.1 to 0.4 ms on an AMD EPYC, shared with other work."""
    texts = [t for p in spelling_pairs.read() if p[0] == language for t in p[2:]]
    normalize = languages.get(language).normalizer.apply
    normalize(texts[0])
    start = time.process_time()
    for written in texts:
        normalize(written)
    assert (time.process_time() - start) / len(texts) < 0.6e-3 * 2, "twice, for a slow machine"


@pytest.mark.parametrize("language", ["pt", "es", "en", "ar", "fr", "zh"])
@pytest.mark.parametrize("sign", ["", "€", "1e", "No. ", "-", "1."])
def test_a_number_of_five_thousand_digits_breaks_no_normaliser(language, sign):
    """Python parses 4,300 digits at most; Whisper's normaliser then ends in an AssertionError."""
    assert text.normalize_for_wer(f"{sign}{'9' * 5000} a", language)


def test_the_table_of_languages_is_whisper_s():
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    assert set(languages.CODES) == set(LANGUAGES)
    for name, code in TO_LANGUAGE_CODE.items():
        assert languages.find(name).code == code


def test_no_two_rows_go_by_one_name():
    names = [name for row in languages.LANGUAGES.values() for name in {row.code, *row.names}]
    assert len(names) == len(set(names))
    assert all(
        languages.find(name).code == row.code for row in languages.LANGUAGES.values() for name in row.names
    )


@pytest.mark.parametrize(
    ("name", "code"),
    [("pt-BR", "pt"), ("POR", "pt"), (" Portuguese ", "pt"), ("zh_CN", "zh"), ("jv", "jw"), ("cmn", "zh"),
     ("Haitian  Creole", "ht"), ("nb-NO", "no"), ("yue", "yue")],
)  # fmt: skip
def test_a_language_is_found_by_any_of_its_names(name, code):
    assert languages.find(name).code == code


@pytest.mark.parametrize("name", ["", "tlh", "xx", "p"])
def test_another_language_is_not_found(name):
    assert languages.find(name) is None


def test_scripts_are_those_of_the_letters():
    for row in languages.LANGUAGES.values():
        letters = [c for c in row.letters if c.isalpha() and c not in "ªº"]
        assert all(unicodedata.name(c).startswith(row.script) for c in letters if c != "ـ"), row.code


def test_languages_and_normalisers_load_no_torch():
    """ingest and split read them, and start in every job."""
    program = (
        "import sys; from sotaque.text import normalize_for_wer as n;"
        "[n('twenty-one', language) for language in ('pt', 'es', 'en', 'ar', 'de', 'zh')];"
        "print('torch' in sys.modules, 'whisper' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def load_from_whisper(name: str):
    package = Path(importlib.util.find_spec("whisper").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(f"whisper_{name}", package / f"normalizers/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_basic_agrees_with_whisper_but_for_brackets_and_marks():
    theirs = load_from_whisper("basic").BasicTextNormalizer()
    for written in (
        "Ação não é só… “fé”!",
        "Don't — stop: it's 10:30, $5.00 & 3%",
        "ﬁne ℌ½ Ⅳ ①",
        "a\u0301bc dois) três]",
        "É\u00a0noite\n\tjá",
    ):
        assert text.normalize_for_wer(written, "de") == theirs(written).strip()
    assert theirs("हिन्दी").split() == ["ह", "न", "द"]  # what upstream makes of marks


def test_english_agrees_with_whisper_where_it_adds_nothing():
    from whisper.normalizers import EnglishTextNormalizer

    theirs = EnglishTextNormalizer()
    for written in (
        "She is twenty-one years old, isn't she?",
        "Mr. Brown paid $2.5 million in the 1960s for 10% of the colour theatre.",
        "The 3rd of May, nineteen ninety-nine; one hundred and one dogs' bones.",
        "It's minus five degrees, he'd been gone.",
    ):
        assert text.normalize_for_wer(written, "en") == theirs(written).strip()


def test_an_unknown_language_says_what_is_expected():
    with pytest.raises(InputError, match=r"'xx'.*pt, es, en or ar"):
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
        ("Hmm.", True),
        ("[risos] Oi", True),
        ("a) primeiro", True),
        ("...", False),
        ("😀", False),
        ("[risos]", False),
        ("<noise>", False),
        ("(laughter) [music] ...", False),
        ("👨‍👩‍👧", False),
        ("", False),
    ],
)
def test_is_spoken(written, spoken):
    assert text.is_spoken(written) is spoken
