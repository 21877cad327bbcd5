"""Text: cleaning of transcripts, and one named normaliser per language for WER and for comparing texts.

Digits stay digits: whether "21" was read as "vinte e um" is for the reader of the report to judge.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from sotaque.errors import InputError

# Zero-width space, word joiner, byte order mark, soft hyphen, and the bidirectional controls.
# ZWJ and ZWNJ stay: Arabic script and emoji spell with them.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛´`", "'"))
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")
_IN_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_TATWEEL = "\u0640"
_ARABIC_LETTERS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ة": "ه", _TATWEEL: None})


def clean(text: str) -> str:
    """A transcript as written, fit for a manifest: NFC, single spaces, plain quotes, nothing invisible."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text).translate(_QUOTES)).split())


def is_spoken(text: str, language: str) -> bool:
    """Whether anything is left to say, and to count errors in: a letter or digit outside brackets."""
    return any(character.isalnum() for character in normalize_for_wer(text, language))


def basic(text: str) -> str:
    """Lower case, no punctuation, no brackets and what they hold; accents stay.

    The steps are those of BasicTextNormalizer in openai-whisper's whisper/normalizers/basic.py.
    """
    text = _IN_PARENTHESES.sub("", _BRACKETED.sub("", text.lower()))
    composed = unicodedata.normalize("NFKC", text)
    plain = "".join(" " if unicodedata.category(c)[0] in "MSP" else c for c in composed)
    return " ".join(plain.lower().split())


def arabic(text: str) -> str:
    """Like basic, with diacritics and tatweel dropped and alef, ya and ta marbuta unified."""
    letters = unicodedata.normalize("NFKC", text).translate(_ARABIC_LETTERS)
    return basic("".join(c for c in letters if unicodedata.category(c) != "Mn"))


NORMALIZERS: dict[str, Callable[[str], str]] = {"pt": basic, "es": basic, "en": basic, "ar": arabic}


def normalize_for_wer(text: str, language: str) -> str:
    """The words of a text, as they are counted and compared, single spaces between them.

    Raises InputError for a language without a normaliser.
    """
    if language not in NORMALIZERS:
        raise InputError(
            f"no text normaliser for the language {language!r}; there are {', '.join(NORMALIZERS)}"
        )
    return NORMALIZERS[language](text)
