"""English: EnglishTextNormalizer of openai-whisper, with what it lacks brought into its form before."""

from __future__ import annotations

import importlib.util
import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sotaque.normalizers.basic import prepare

_DIGIT_WORDS = "zero|one|two|three|four|five|six|seven|eight|nine"
_NUMBER_WORDS = (
    f"{_DIGIT_WORDS}|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|\d+"
)
_WORD = re.compile(r"\S+")
_ONE = re.compile(r"\bone(s?)\b")
_PREFIXED = re.compile(
    r"\b(anti|co|hyper|inter|intra|macro|mega|micro|mini|multi|non|pre|re|semi|sub|ultra|e(?= mail))"
    r" (?=[^\W\d_])"
)
_SIGN_NAMES = {"¢": " cents ", "€": " euros ", "£": " pounds "}
_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b([ap])\.\s?m\b\.?", r"\1m"),
        (r"(?<![^\W\d_])(?:[^\W\d_]\.){2,}", lambda m: m[0].replace(".", "") + " "),
        (r"(?<![\d:])(\d\d?):00(?![\d:])(?=\s*[ap]m\b)", r"\1 "),
        (r"(?<![\d:])(\d\d?):00(?![\d:])(?!\s*o'clock)", r"\1 o'clock"),
        (r"(?<![\d:])(\d\d?):([0-5]\d)(?![\d:])", r"\1\2"),
        (r"(?<=\d)(?=[ap]m\b)", " "),
        (rf"\b({_NUMBER_WORDS})[^\w'$]+(?:oh|o)[^\w'$]+(?=(?:{_DIGIT_WORDS}|\d)\b)", r"\1 zero "),
        (r"(?<![\w.,])(\d+)[^\w']+and[^\w']+a[^\w']+half\b", r"\1.5 "),
        (r"\bhalf[^\w']+a[^\w']+(?=(?:hundred|thousand|million|billion|trillion)\b)", "0.5 "),
        (r"(?<=\d)\s+(?=%)|(?<=[$¢€£])\s+(?=\d)", ""),
        (r"(?<=\d)\s?([¢€£])(?!\s?\d)", lambda m: _SIGN_NAMES[m[1]]),
        (r"\ba[^\w']+(?=(?:hundred|thousand|million|billion|trillion)\b)", "one "),
        (r"(?<!\w)-(?=\d)", "minus "),
        (r"\bno\.\s*(?=\d)|#\s?(?=\d)", "number "),
        (r"\bvs\b\.?", "versus"),
        (r"\.+(?!\d)", " "),
        (r"\bninth\b", "nineth"),  # as upstream's table spells it
        (r"&", " and "),
        (r"\bcannot\b", "can not"),
        (r"(?<![\w'])'(?:em)\b", "them"),
        (r"(?<![\w'])'(?:cause)\b", "because"),
        (r"\bok\b", "okay"),
        (r"\balright\b", "all right"),
    )
]  # fmt: skip


def english(text: str) -> str:
    """Fillers such as um and hmm do not count."""
    prepared = unicodedata.normalize("NFKC", prepare(text))
    for pattern, replacement in _REWRITES:
        prepared = pattern.sub(replacement, prepared)
    words = " ".join(word for word in _load_whisper()(prepared).split() if any(map(str.isalnum, word)))
    return _PREFIXED.sub(r"\1", words)


@cache
def _load_whisper() -> Callable[[str], str]:
    """Whisper's normaliser without its reading of `o` and `oh` as 0, which makes `0 no` of `oh no`.

    It also writes `$1` as `$one` and then removes the sign, so `$1`, `1%` and `one` would have one form.

    The folder whisper/normalizers is imported by itself, for whisper's own package imports torch.
    """
    [package] = importlib.util.find_spec("whisper").submodule_search_locations  # type: ignore[union-attr]
    folder = Path(package) / "normalizers"
    spec = importlib.util.spec_from_file_location(
        "sotaque_whisper_normalizers", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[spec.name] = module  # type: ignore[union-attr]  # its own imports are relative
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    normalizer = module.EnglishTextNormalizer()
    numbers = normalizer.standardize_numbers
    for misread in ("o", "oh"):
        numbers.zeros.discard(misread)
        numbers.words.discard(misread)
        numbers.decimals.discard(misread)
    postprocess = numbers.postprocess
    numbers.postprocess = lambda text: _WORD.sub(_restore_one, postprocess(text))
    return normalizer


def _restore_one(match: re.Match[str]) -> str:
    """`$one` -> `$1`, `one.5` -> `1.5`, `one%` -> `1%`; `one` and `ones` stay words."""
    word = match[0]
    return word if word in ("one", "ones") else _ONE.sub(r"1\1", word)
