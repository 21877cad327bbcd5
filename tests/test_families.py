"""How each family reads text, on words that tell the forms apart."""

import pytest

from sotaque.backends.families import FAMILIES

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
    assert FAMILIES["csm"].text_form("pt").describe("pt") == "NFC, case kept, diacritics kept, no language tag"
    assert FAMILIES["chatterbox"].text_form("ar").describe("ar") == "NFKD, lower case, diacritics kept, [ar] before it"
