"""Lists of rejected clips, counted by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sotaque.manifest import Reject


def counted(rejects: Sequence[Reject]) -> str:
    """`too-short 3, truncated 1`; empty for none."""
    return ", ".join(f"{code} {n}" for code, n in sorted(Counter(r.code for r in rejects).items()))


def by_code(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    """code, clips and an example of each, the most frequent first."""
    counts = Counter(reject.code for reject in rejects)
    examples = {reject.code: f"{reject.id}: {reject.reason}" for reject in reversed(rejects)}
    return [
        {"code": code, "clips": count, "example": examples[code]}
        for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
