"""How each family reads text, on words that tell the forms apart."""

import dataclasses
import unicodedata

import pytest

from sotaque import model_spec
from sotaque.backends.families import FAMILIES
from sotaque.evaluation.page import words

DECOMPOSED = "Ac\u0327a\u0303o\u0301"  # A, c with cedilla, a with tilde, o with acute, all in two pieces
ARABIC = "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u0627\u064b"  # with its short vowels


@pytest.mark.parametrize(("family", "text", "language", "read"), [
    ("orpheus", DECOMPOSED, "pt", "A\u00e7\u00e3\u00f3"), ("csm", DECOMPOSED, "pt", "A\u00e7\u00e3\u00f3"),
    ("openaudio", DECOMPOSED, "pt", "A\u00e7\u00e3\u00f3"),
    ("chatterbox", "A\u00c7\u00c3O", "pt", "[pt]ac\u0327a\u0303o"),
    ("chatterbox", "\u00bfQu\u00e9?", "es", "[es]\u00bfque\u0301?"),
    ("orpheus", ARABIC, "ar", ARABIC), ("chatterbox", ARABIC, "ar", f"[ar]{ARABIC}"),
])  # fmt: skip
def test_text_is_read_in_the_familys_form(family, text, language, read):
    assert FAMILIES[family].text_form(language).apply(text, language) == read


def test_the_form_can_be_said():
    assert (
        FAMILIES["csm"].text_form("pt").describe("pt") == "NFC, case kept, diacritics kept, no language tag"
    )
    assert (
        FAMILIES["chatterbox"].text_form("ar").describe("ar")
        == "NFKD, lower case, diacritics kept, [ar] before it"
    )


SENTENCES = {
    "pt": "A\u00e7\u00e3o, av\u00f3!",
    "es": "\u00bfQu\u00e9 a\u00f1o?",
    "ar": ARABIC,
    "en": "Na\u00efve caf\u00e9",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("language", SENTENCES)
def test_what_the_report_says_is_what_is_done(workplace, family, language):
    """Form, case, tag and diacritics of every family in every language, each checked on the text itself."""
    spec = dataclasses.replace(model_spec.read("micro"), backend=family)
    said = words.text_forms(spec, [language])[language].split(", ")
    text = SENTENCES[language]
    read = FAMILIES[family].text_form(language).apply(text, language)
    tag = said[3].removesuffix(" before it")
    assert (said[3] == "no language tag") == (tag == said[3])
    body = read.removeprefix(tag)
    assert (body != read) == (tag != said[3])
    assert unicodedata.normalize(said[0], body) == body
    cased = unicodedata.normalize(said[0], text)
    assert body == {"case kept": cased, "lower case": cased.lower()}[said[1]]
    assert said[2] == "diacritics kept"
    assert marks(body) == marks(text) > 0


def marks(text):
    return sum(unicodedata.combining(c) > 0 for c in unicodedata.normalize("NFD", text))
