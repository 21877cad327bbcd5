"""Lists of rejected clips: counted by code, and held against the share of a corpus that may be lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sotaque import manifest
from sotaque.errors import REMEDIES, InputError
from sotaque.manifest import Reject

_CODES_SHOWN = 5


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


def refuse(
    rejects: Sequence[Reject],
    clips: int,
    duration_s: float,
    allowed: float,
    *,
    where: str,
    into: Path,
    hint: str = "",
) -> None:
    """Stop where all clips are rejected, or more than the allowed share of the clips or of their duration.

    clips, duration_s: of all that came in, rejects included; rejects whose duration is not known count as
    clips alone. Raises InputError, which begins with `where`, and writes all rejects to the file `into`.
    """
    lost_s = sum(reject.duration_s for reject in rejects)
    is_most = len(rejects) > allowed * clips or lost_s > allowed * duration_s
    if not rejects or not (is_most or len(rejects) >= clips):
        return
    manifest.write(into, rejects)
    share = f" ({lost_s / duration_s:.1%})" if duration_s else ""
    raise InputError(
        f"{where}: {len(rejects)} of {clips} clips are rejected ({len(rejects) / clips:.1%}), "
        f"{lost_s / 60:.1f} of {duration_s / 60:.1f} minutes{share}; allowed are {allowed:.1%} of either "
        f"(ingest.max_rejected_share): {counted(rejects)}. All of them, with reasons, are in {into}{hint}"
        f"{_describe_codes(rejects)}"
    )


def _describe_codes(rejects: Sequence[Reject]) -> str:
    """A line for each code: clips, minutes, the fix and the first clip; the costliest first."""
    groups: dict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        groups[reject.code].append(reject)
    lost_s = {code: sum(reject.duration_s for reject in members) for code, members in groups.items()}
    ordered = sorted(groups.items(), key=lambda item: (-lost_s[item[0]], -len(item[1]), item[0]))
    lines = []
    for code, members in ordered[:_CODES_SHOWN]:
        first, fix = members[0], REMEDIES[code]
        found = first.reason.removesuffix(f"; {fix}")
        lines.append(
            f"\n  {code}: {len(members)} clip{'s' * (len(members) > 1)}, {lost_s[code] / 60:.1f} minutes; "
            f"the first: {first.audio or first.id}: {found}. Fix: {fix}"
        )
    if len(ordered) > _CODES_SHOWN:
        lines.append(f"\n  and {len(ordered) - _CODES_SHOWN} more codes")
    return "".join(lines)
