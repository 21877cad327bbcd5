"""Normalisers of text for WER: what is read alike gets one form, what is read otherwise stays apart.

A normaliser sees one text and never its counterpart, so that reference and transcript are treated alike.
Brackets go before anything else, and their words stay. Numbers become digits, because digits no longer tell
which of several readings was meant. What each one brings together, and what it does not, is in docs/text.md.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from sotaque.normalizers.arabic import arabic
from sotaque.normalizers.basic import basic, characters
from sotaque.normalizers.english import english
from sotaque.normalizers.romance import PORTUGUESE_RULES, SPANISH_RULES, Romance


@dataclass(frozen=True)
class Normalizer:
    """name, version: for the report; a change of results raises the version. library: what it rests on."""

    name: str
    version: int
    summary: str
    apply: Callable[[str], str]
    library: str = ""

    def describe(self) -> str:
        """`portuguese 2 (text2num 3.1.0)`."""
        label = f"{self.name} {self.version}"
        if not self.library:
            return label
        return f"{label} ({self.library} {importlib.metadata.version(self.library)})"


BASIC = Normalizer("basic", 2, "lower case, no punctuation; accents and combining marks stay", basic)
CHARACTERS = Normalizer("characters", 1, "basic, each character a word", characters)
PORTUGUESE = Normalizer(
    "portuguese", 2, "numbers, money, times, abbreviations, compounds and older spellings in one form",
    Romance(PORTUGUESE_RULES), "text2num",
)  # fmt: skip
SPANISH = Normalizer(
    "spanish", 2, "numbers, money, times, abbreviations, compounds and older spellings in one form",
    Romance(SPANISH_RULES), "text2num",
)  # fmt: skip
ENGLISH = Normalizer(
    "english", 2, "Whisper's English normaliser, which keeps words in brackets and does not read oh as 0",
    english, "openai-whisper",
)  # fmt: skip
ARABIC = Normalizer(
    "arabic", 2, "no vowel signs; one alef, ya, ha, waw and no hamza; digits and plain numbers in one form",
    arabic,
)  # fmt: skip
