"""Ids of clips: safe as file names anywhere, different for different clips, the same in any order of rows."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

MAX_CHARACTERS = 120


def unique(names: Iterable[str]) -> list[str]:
    """An id for each name, different for different names, even where case is ignored.

    All that would collide get eight hex digits of their own SHA-256, so the order of names is no matter.
    """
    raw = list(names)
    same = defaultdict(set)
    for name in raw:
        same[safe(name).casefold()].add(name)
    return [safe(name) if len(same[safe(name).casefold()]) == 1 else _hashed(name) for name in raw]


def safe(name: str) -> str:
    """ASCII letters, digits, `.`, `_` and `-` only, no `-` or `.` in front, at most 120 characters."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if unicodedata.category(c) != "Mn")
    spelled = _spelled(plain)
    return spelled if 0 < len(spelled) <= MAX_CHARACTERS else _hashed(name)


def _hashed(name: str) -> str:
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_spelled(name)[: MAX_CHARACTERS - 9] or 'clip'}-{digits}"


def _spelled(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "-")).lstrip("-.")
