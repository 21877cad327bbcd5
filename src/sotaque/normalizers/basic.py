"""What every normaliser begins and ends with, and the whole of it for a language without rules of its own."""

from __future__ import annotations

import re
import unicodedata

import regex

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘‛ʼʻ´`′＇", "'"))
_INVISIBLE = regex.compile(r"[\p{Cf}\uFE00-\uFE0F]")
_BRACKETS = regex.compile(r"[()\[\]<>{}]")
# A mark belongs to the letter or digit before it; alone, or around a sign, it is no part of a word.
_BETWEEN_WORDS = regex.compile(r"[\p{P}\p{S}\p{Me}]|(?<![\p{L}\p{N}\p{M}])\p{M}+")
# NFKC makes plain digits of ² and ½: without a space 10² becomes 102, and 10½ becomes 101/2.
_DIGIT_KINDS = regex.compile(r"(?<=\p{Nd})(?=\p{No})|(?<=\p{No})(?=\p{Nd})")
# More digits than any number that is said; without a bound the patterns over digits take hours.
_LONG_NUMBER = re.compile(r"((?:\d[.,]?){15})(?=\d)")


def prepare(text: str) -> str:
    """Lower case, one kind of apostrophe, spaces for brackets, nothing invisible, 15 digits at most; NFC.

    Superscripts and fractions are set apart from the digits next to them.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text).translate(_APOSTROPHES))
    text = _DIGIT_KINDS.sub(" ", _BRACKETS.sub(" ", text))
    return _LONG_NUMBER.sub(r"\1 ", text.lower())


def split_words(text: str) -> list[str]:
    """The words of a prepared text: letters and digits, with the marks that belong to them; NFKC."""
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text)).lower().split()


def basic(text: str) -> str:
    """As BasicTextNormalizer of openai-whisper, whisper/normalizers/basic.py, with three differences.

    Upstream deletes what stands in brackets. It also makes a space of every combining mark, which takes the
    words of Hindi, Yoruba and vocalised Arabic to pieces. And it reads `10²` as `102`.
    """
    return " ".join(split_words(prepare(text)))


def characters(text: str) -> str:
    """Basic, with a space after each character and its marks."""
    return " ".join(regex.findall(r"\X", "".join(split_words(prepare(text)))))
