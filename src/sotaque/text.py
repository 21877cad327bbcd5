"""Text: cleaning of transcripts, and the form in which texts are counted and compared."""

from __future__ import annotations

import functools
import re
import unicodedata

from sotaque import languages
from sotaque.normalizers import basic

# Zero-width space, word joiner, byte order mark, soft hyphen, and the bidirectional controls.
# ZWJ and ZWNJ stay: Arabic script and emoji spell with them.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛´`", "'"))
_NOTE = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)")


def clean(text: str) -> str:
    """A transcript as written, fit for a manifest: NFC, single spaces, plain quotes, nothing invisible."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text).translate(_QUOTES)).split())


def is_spoken(text: str) -> bool:
    """Whether there is a letter or digit outside brackets: `[laughter]` alone is a note, not speech.

    A text with both is speech, and then normalize_for_wer counts the words in brackets too.
    """
    return any(character.isalnum() for character in _NOTE.sub("", text))


@functools.lru_cache(maxsize=2**16)
def normalize_for_wer(text: str, language: str) -> str:
    """The words of a text, as they are counted and compared, single spaces between them.

    A text of nothing but what a normaliser leaves out, as `Hmm.` in English, keeps its words. Raises
    InputError for a language that Whisper does not know.
    """
    return languages.get(language).normalizer.apply(text) or basic(text)
