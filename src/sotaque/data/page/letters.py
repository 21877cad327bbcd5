"""The characters of the corpus, and how the model's tokenizer writes them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

from sotaque.data.measures.characters import PIECE, Alphabet

MOST = 60


def summary(found: Counter[str], alphabet: Alphabet | None) -> dict[str, Any]:
    """found: character -> how often. Rows for those without a token of their own, the most frequent first."""
    if alphabet is None:
        return {"total": len(found), "kinds": None, "rows": [], "others": 0}
    kinds = {letter: alphabet.kind(letter) for letter in found}
    odd = sorted((c for c in found if kinds[c] != PIECE), key=lambda c: (-found[c], c))
    rows = [{"letter": c, "name": _name(c), "count": found[c], "kind": kinds[c]} for c in odd[:MOST]]
    return {"total": len(found), "kinds": Counter(kinds.values()), "rows": rows, "others": len(odd[MOST:])}


def _name(letter: str) -> str:
    return unicodedata.name(letter, f"U+{ord(letter):04X}").lower()
