"""Transcripts: cleaned, otherwise as written, and held against what their language writes.

Numbers stay as written: what was said for them is for the listener, or the model, to know.
"""

from __future__ import annotations

import html
import re
import unicodedata

from sotaque import languages, text
from sotaque.errors import ClipError

MAX_CHARACTERS = 10_000
_REPLACEMENT = "\ufffd"
_SHOWN = 80
_NO_VALUES = frozenset(
    ("#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "undefined")
)
_TIMES = re.compile(r"\d:\d\d[.,]\d{1,3}\s*-->\s*(\d+:)?\d{1,2}:\d\d|ooTextFile")
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_BREAK = re.compile(r"</?(br|p|div|li|ul|ol|tr|td|h[1-6])\b[^<>]{0,200}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(b|i|u|s|em|strong|span|font|a|small|big|sup|sub|mark|code|q|c|ruby|rt|html|body)(\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)


def cleaned(raw: str, language: str, where: str) -> str:
    """A transcript fit for a manifest, without the entities and tags of HTML.

    Raises ClipError: no-transcript, not-a-transcript, text-too-long, control-characters, encoding,
    wrong-script.
    """
    if is_no_value(raw.strip()):
        raise ClipError("no-transcript", f"{where}: {raw.strip()!r}, which programs write for nothing")
    if _TIMES.search(raw):
        raise ClipError(
            "not-a-transcript", f"{where}: {raw[:_SHOWN]!r} holds the times of subtitles or labels"
        )
    transcript = text.clean(without_markup(raw))
    if not text.is_spoken(transcript):
        raise ClipError("no-transcript", f"{where}: nothing to say in {raw[:_SHOWN]!r}")
    if len(transcript) > MAX_CHARACTERS:
        raise ClipError("text-too-long", f"{where}: {len(transcript)} characters, at most {MAX_CHARACTERS}")
    check_encoding(raw, where)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in transcript):
        raise ClipError("control-characters", f"{where}: {transcript[:_SHOWN]!r} holds control characters")
    check_script(transcript, language, where)
    return transcript


def is_no_value(written: str) -> bool:
    """Whether a program wrote this word for nothing, as pandas writes `nan` and databases `NULL`."""
    return written in _NO_VALUES


def without_markup(written: str) -> str:
    """`a &amp; <b>b</b>` -> `a & b`; other words in < > stay, as a model may know them."""
    for _ in range(2):  # what was escaped twice, as `&amp;quot;`
        written = html.unescape(written) if _ENTITY.search(written) else written
    return _TAG.sub("", _BREAK.sub(" ", written))


def has_markup(written: str) -> bool:
    return without_markup(written) != written


def check_encoding(raw: str, where: str) -> None:
    """What was lost or misread before it came here: U+FFFD, and UTF-8 taken for Latin-1 (`nÃ£o`)."""
    if _REPLACEMENT in raw:
        raise ClipError("encoding", f"{where}: {raw[:_SHOWN]!r} holds U+FFFD, a sign for lost characters")
    for wrong in ("cp1252", "latin-1"):
        try:
            meant = raw.encode(wrong).decode("utf-8")
        except UnicodeError:
            continue
        if meant != raw:
            shown = f"{raw[:_SHOWN]!r}, read as {wrong}, was {meant[:_SHOWN]!r} in UTF-8"
            raise ClipError("encoding", f"{where}: {shown}")


def check_script(transcript: str, language: str, where: str) -> None:
    """Raise ClipError "wrong-script" when most letters are of another script than the language's."""
    script = languages.get(language).script
    letters = [c for c in transcript if c.isalpha()]
    own = sum(unicodedata.name(c, "").startswith(script) for c in letters)
    if script and 2 * own < len(letters):
        raise ClipError(
            "wrong-script",
            f"{where}: {own} of {len(letters)} letters in {transcript[:_SHOWN]!r} are {script.title()}, "
            f"the script of {language}",
        )


def foreign(transcript: str, language: str) -> str:
    """The characters that the language does not write, sorted: letters, marks, digits, emoji, private use.

    None where the table of languages does not have its letters.
    """
    letters = languages.get(language).letters
    if not letters:
        return ""
    return "".join(sorted(c for c in set(transcript) if c.lower() not in letters and _is_foreign(c)))


def _is_foreign(character: str) -> bool:
    """Punctuation, signs of money and of arithmetic, and Latin-1's own signs are everybody's."""
    category = unicodedata.category(character)
    common = category[0] in "PZ" or category in ("Sc", "Sm") or (ord(character) < 256 and category[0] in "SN")
    return not common
