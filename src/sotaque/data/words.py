"""Words of the demonstration's languages: the lexicon, its inflected forms, numbers and times of day.

A few words in a hundred are *novel*: kept out of every training text, to test reading of unheard words.
"""

import functools
import hashlib
import re
from pathlib import Path

from sotaque.errors import InputError

LANGUAGES = ("pt", "es", "en")
NOVEL_BUCKETS = 24
_FOLDER = Path(__file__).parent / "lexicon"
_OPEN_KINDS = ("food", "object", "animal", "person", "place", "thing", "adjective", "verb")
_TENS = {
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
}
_PLURAL_EXCEPTIONS = {"mão": "mãos", "pão": "pães", "irmão": "irmãos", "mal": "males"}


def stable_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def bare(text: str) -> str:
    """Lower case without punctuation: what two texts that sound the same share."""
    return " ".join(re.sub(r"[^\w\s-]", " ", text.lower()).split())


@functools.cache
def lexicon(language: str) -> dict[str, tuple[str, ...]]:
    """Base forms by kind, as written in lexicon/<language>.txt."""
    if language not in LANGUAGES:
        raise InputError(f"no demonstration lexicon for the language {language!r}; there are {LANGUAGES}")
    kinds = {}
    for line in (_FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, _, words = line.partition(":")
            kinds[kind] = tuple(dict.fromkeys(words.split()))
    return kinds


@functools.cache
def templates(language: str) -> tuple[str, ...]:
    lexicon(language)
    lines = (_FOLDER / f"{language}-templates.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def plural(word: str, language: str) -> str | None:
    """The plural of a noun or adjective, None where it is irregular or the same."""
    if word in _PLURAL_EXCEPTIONS:
        return _PLURAL_EXCEPTIONS[word]
    if language == "en":
        return _english_plural(word)
    if word.endswith("s") or "-" in word:
        return None
    if language == "es":
        if re.search("[áéíóú][nslrdz]$|z$", word):
            return word[:-1] + "ces" if word.endswith("z") else None
        return word + ("s" if re.search("[aeoé]$", word) else "es")
    endings = (("ão", "ões"), ("m", "ns"), ("al", "ais"), ("el", "éis"), ("r", "res"), ("z", "zes"))
    for end, replacement in endings:
        if word.endswith(end):
            return word[: -len(end)] + replacement
    return word + "s" if word[-1] in "aeoãéáóuêôi" else None


def _english_plural(word: str) -> str | None:
    if word in {"calf", "wolf", "leaf", "shelf", "tooth", "man", "woman", "knife", "half", "fish"}:
        return None
    if re.search("[^aeou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search("(s|x|ch|sh)$", word) else "s")


def feminine(adjective: str) -> str:
    return adjective[:-1] + "a" if adjective.endswith("o") else adjective


def conjugate(verb: str, language: str) -> list[str]:
    """Some regular forms of a verb, the infinitive first."""
    if language == "en":
        return [verb]
    stem, ending = verb[:-2], verb[-2:]
    table = {
        ("pt", "ar"): "o a amos am ou aram ava avam ará ando ado",
        ("pt", "er"): "e emos em eu eram ia iam erá endo ido",
        ("pt", "ir"): "e imos em iu iram ia iam irá indo ido",
        ("es", "ar"): "o a amos an aron aba aban ará ando ado",
        ("es", "er"): "e emos en ieron ía ían erá iendo ido",
        ("es", "ir"): "e imos en ieron ía ían irá iendo ido",
    }
    return [verb] + [stem + form for form in table[language, ending].split()]


@functools.cache
def words(language: str) -> tuple[str, ...]:
    """All single words that random sequences are drawn from, inflected forms included, sorted."""
    found: set[str] = set()
    for kind, entries in lexicon(language).items():
        found.update(entries)
        if kind == "verb":
            found.update(form for verb in entries for form in conjugate(verb, language))
        elif kind.split(".")[0] in _OPEN_KINDS[:6]:
            found.update(filter(None, (plural(word, language) for word in entries)))
        elif kind == "adjective" and language != "en":
            both = {form for word in entries for form in (word, feminine(word))}
            found.update(both, filter(None, (plural(form, language) for form in both)))
    return tuple(sorted(word for word in found if len(word) > 2 and "-" not in word))


@functools.cache
def _frame_words(language: str) -> frozenset[str]:
    """Words that every text may hold: those of the templates themselves and of the closed kinds."""
    literal = bare(re.sub(r"\{[^}]*\}", " ", " ".join(templates(language)))).split()
    closed = [
        w
        for kind, entries in lexicon(language).items()
        if kind.split(".")[0] not in _OPEN_KINDS
        for w in entries
    ]
    return frozenset(literal) | frozenset(closed) | frozenset(_TENS[language].split())


def is_novel(word: str, language: str) -> bool:
    """Kept for the reading test: no training text holds this word."""
    return stable_hash(f"{language}:{word}") % NOVEL_BUCKETS == 0 and word not in _frame_words(language)


def number(value: int, language: str) -> str:
    """0..99 in words."""
    units = lexicon(language)["number"]
    if value < 20:
        return units[value]
    tens, unit = _TENS[language].split()[value // 10 - 2], value % 10
    joint = {"pt": " e ", "es": " y ", "en": " "}[language]
    if unit and language == "es" and value < 30:
        return {22: "veintidós", 23: "veintitrés", 26: "veintiséis"}.get(value, "veinti" + units[unit])
    return tens + joint + units[unit] if unit else tens


def time_of_day(hour: int, minute: int, language: str) -> str:
    """2..12 hours and a minute in words, e.g. `sete e meia`."""
    hours = number(hour, language)
    if language == "pt":
        hours = "duas" if hour == 2 else hours
        return hours + {0: " horas", 30: " e meia"}.get(minute, f" e {number(minute, 'pt')}")
    if language == "es":
        return hours + {0: "", 30: " y media", 15: " y cuarto"}.get(minute, f" y {number(minute, 'es')}")
    past = {0: f"{hours} o'clock", 30: f"half past {hours}", 15: f"quarter past {hours}"}
    return past.get(minute, f"{hours} {number(minute, 'en')}")
