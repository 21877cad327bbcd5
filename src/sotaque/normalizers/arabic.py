"""Arabic: one letter for what is written in several ways, and plain numbers as digits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from sotaque.normalizers.basic import prepare, split_words

# As the Open Universal Arabic ASR Leaderboard, and besides: one ya, and one ha, which is ta marbuta unsaid.
_LETTERS = str.maketrans(
    dict.fromkeys("أإآٱ", "ا")
    | {"ى": "ي", "ی": "ي", "ئ": "ي", "ؤ": "و", "ة": "ه", "ک": "ك", "پ": "ب", "ڤ": "ف", "ء": None, "ـ": None}
    | {chr(first + digit): str(digit) for first in (0x0660, 0x06F0) for digit in range(10)}
)
_AND = "و"
_NUMBERS = {
    0: "صفر", 1: "واحد واحدة", 2: "اثنان اثنين اثنتان اثنتين", 3: "ثلاثة ثلاث", 4: "أربعة أربع",
    5: "خمسة خمس", 6: "ستة ست", 7: "سبعة سبع", 8: "ثمانية ثماني ثمان", 9: "تسعة تسع", 10: "عشرة عشر",
    20: "عشرون عشرين", 30: "ثلاثون ثلاثين", 40: "أربعون أربعين", 50: "خمسون خمسين", 60: "ستون ستين",
    70: "سبعون سبعين", 80: "ثمانون ثمانين", 90: "تسعون تسعين",
    100: "مئة مائة", 200: "مئتان مئتين مئتا مائتان مائتين مائتا",
    300: "ثلاثمئة ثلاثمائة", 400: "أربعمئة أربعمائة", 500: "خمسمئة خمسمائة", 600: "ستمئة ستمائة",
    700: "سبعمئة سبعمائة", 800: "ثمانمئة ثمانمائة ثمانيمئة ثمانيمائة", 900: "تسعمئة تسعمائة",
    1000: "ألف ألفا آلاف", 2000: "ألفان ألفين",
}  # fmt: skip
_ONES_BEFORE_TEN = {1: "أحد إحدى", 2: "اثنا اثني اثنتا اثنتي"}  # of 11 and 12; alone the first means anyone
_TENS = range(20, 100, 10)
_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"(?<=\d)٬(?=\d{3})|(?<=\d)[,.](?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=\d)[٫.](?=\d)"), " فاصله "),
    (re.compile(r"[٪%]"), " بالميه "),
]
_LOOSE_AND = re.compile(r"(?<!\S)و (?=\S)")
_PER_CENT = re.compile(r"(?<!\S)(?:في ال|بال)(?:ميه|مايه)(?!\S)")


def _unify(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).translate(_LETTERS)
    return "".join(c for c in letters if unicodedata.category(c) != "Mn")


_VALUES = {_unify(word): value for value, words in _NUMBERS.items() for word in words.split()}
_BEFORE_TEN = {_unify(word): value for value, words in _ONES_BEFORE_TEN.items() for word in words.split()}
_ONES = {"1": "واحد", "و1": "وواحد"}
_LONGEST = 12  # words of a number below a million


def arabic(text: str) -> str:
    """Without vowel signs, tatweel and hamza; one form of alef, ya, waw and ha; digits 0 to 9."""
    text = "".join(c for c in unicodedata.normalize("NFKC", prepare(text)) if unicodedata.category(c) != "Mn")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    words = _LOOSE_AND.sub(_AND, " ".join(split_words(_unify(text))))
    return " ".join(_replace_number_words(_PER_CENT.sub("بالميه", words).split()))


def _replace_number_words(words: Sequence[str]) -> Iterator[str]:
    """Cardinal numbers up to 999,999 become digits: `خمسه وعشرون` -> `25`. A lone 1 is a word."""
    position = 0
    while position < len(words):
        prefix, (value, end) = "", _read_number(words, position)
        if end == position and words[position].startswith(_AND):
            prefix, rest = _AND, [words[position][1:], *words[position + 1 : position + _LONGEST]]
            value, length = _read_number(rest, 0)
            end = position + length
        if end == position or (value == 1 and end == position + 1):
            prefix, value, end = "", words[position], position + 1
        yield prefix + _ONES.get(str(value), str(value))
        position = end


def _read_number(words: Sequence[str], position: int) -> tuple[int | str, int]:
    """The number that begins at a position, and where it ends; there is none where it ends at once."""
    value, end = _read_below_thousand(words, position, "")
    if end == position and words[position].isdecimal() and _value(words, position + 1, "") == 1000:
        value, end = int(words[position]), position + 1
    if _value(words, end, "") == 1000 and (end == position or value):
        value, end = max(value, 1) * 1000, end + 1
    elif end == position and _value(words, position, "") == 2000:
        value, end = 2000, position + 1
    else:
        return value, end
    rest, end = _read_below_thousand(words, end, _AND)
    return value + rest, end


def _read_below_thousand(words: Sequence[str], position: int, prefix: str) -> tuple[int, int]:
    value = _value(words, position, prefix)
    if 3 <= value <= 9 and _value(words, position + 1, "") == 100:
        hundreds, position, prefix = value * 100, position + 2, _AND
    elif 100 <= value < 1000:
        hundreds, position, prefix = value, position + 1, _AND
    else:
        hundreds = 0
    rest, end = _read_below_hundred(words, position, prefix)
    return hundreds + rest, end


def _read_below_hundred(words: Sequence[str], position: int, prefix: str) -> tuple[int, int]:
    value, tens = _value(words, position, prefix), _value(words, position + 1, _AND)
    word = words[position].removeprefix(prefix) if position < len(words) else ""
    if _value(words, position + 1, "") == 10 and (word in _BEFORE_TEN or 3 <= value <= 9):
        return 10 + _BEFORE_TEN.get(word, value), position + 2
    if _BEFORE_TEN.get(word) == 1 and tens in _TENS:
        value = 1
    if not 0 <= value < 100:
        return 0, position
    if 1 <= value <= 9 and tens in _TENS:
        return value + tens, position + 2
    return value, position + 1


def _value(words: Sequence[str], position: int, prefix: str) -> int:
    """Of the word at a position that begins with a prefix; -1 where there is none."""
    if position >= len(words) or not words[position].startswith(prefix):
        return -1
    return _VALUES.get(words[position].removeprefix(prefix), -1)
