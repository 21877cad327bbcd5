"""The expected duration of a text, and the duration at which its generation is stopped.

A network that never emits its end token would speak until its context is full, and one fixed limit for all
texts would cut the long ones. So the limit follows from the text: `MARGIN` times the expected duration, and
`ALLOWANCE_S` for pauses around it. It depends on the text alone, never on the other texts of a batch.

The expected duration is a sum over characters. It needs no dictionary and no spaces, so it holds for every
script: an alphabet writes about 12.5 letters for a second of reading aloud; a script that leaves vowels out,
or that writes a syllable or a word with one sign, writes fewer. A digit or a symbol is read as a word.
"""

from __future__ import annotations

import functools
import math
import unicodedata

MARGIN = 3.0  # three times as slow as expected: about 4 letters a second
ALLOWANCE_S = 2.0
SHORTEST_S = 0.5

LETTER_S = 0.08
SCRIPT_S = {
    **dict.fromkeys(("ARABIC", "HEBREW", "SYRIAC"), 0.11),  # short vowels are not written
    **dict.fromkeys(("DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "GUJARATI"), 0.12),
    **dict.fromkeys(("GURMUKHI", "SINHALA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "ETHIOPIC"), 0.12),
    **dict.fromkeys(("HIRAGANA", "KATAKANA"), 0.14),  # a mora
    "HANGUL": 0.2,  # a syllable
    "CJK": 0.25,  # a syllable; in Japanese often two morae or more
}
HAN_JAPANESE_S = 0.35
DIGIT_S, SYMBOL_S = 0.6, 0.6
PAUSES_S = {
    **dict.fromkeys(".!?…؟۔。！？।", 0.5),
    **dict.fromkeys(",;:—–،؛、，；：", 0.3),
}


def expected_s(text: str, language: str = "") -> float:
    """Seconds that a text takes to say at an ordinary pace; language: two letters, with a region or without.

    >>> round(expected_s("Oi."), 2)  # two letters, one full stop
    0.66
    """
    japanese = language.lower().startswith("ja")
    characters = unicodedata.normalize("NFC", text)
    return max(SHORTEST_S, math.fsum(_character_s(character, japanese) for character in characters))


@functools.lru_cache(maxsize=4096)
def _character_s(character: str, japanese: bool) -> float:
    if character in PAUSES_S:
        return PAUSES_S[character]
    category = unicodedata.category(character)
    if category.startswith("N"):
        return DIGIT_S
    if category in ("Sc", "Sm") or character in "%&@#§°":
        return SYMBOL_S
    if not category.startswith("L"):  # spaces, combining marks, quotation marks, emoji
        return 0.0
    script = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    if script == "CJK" and japanese:
        return HAN_JAPANESE_S
    return SCRIPT_S.get(script, LETTER_S)


def limit_s(text: str, language: str = "") -> float:
    """Seconds after which the generation of a text is stopped, wherever it is."""
    return MARGIN * expected_s(text, language) + ALLOWANCE_S


def limit_frames(
    text: str, language: str, frame_rate_hz: float, room_frames: int, max_s: float | None = None
) -> int:
    """The most frames to generate for a text, 1 or more.

    room_frames: what the network has room for after the prompt. max_s: an upper bound that the user gave.
    """
    seconds = limit_s(text, language)
    if max_s is not None:
        seconds = min(seconds, max_s)
    return max(1, min(int(seconds * frame_rate_hz), room_frames))
