"""Drop the clips that quality.drop asks for, before split: each is listed with its code and reason.

Everything else that is measured is only told on the page of the stage survey.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from sotaque import manifest, rejects
from sotaque.data.measures import table
from sotaque.data.measures.limits import BY_CODE
from sotaque.data.measures.table import Table
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject
from sotaque.settings import Settings

REFUSED = Path("logs/rejects-quality.jsonl")
log = logging.getLogger("sotaque")


def run(settings: Settings, *, measures: Path, wav: Path, out: Path) -> dict[str, float]:
    """Write out/rejects.jsonl; returns clips, dropped and the hours that are kept.

    Raises InputError when more than quality.max_dropped_share would be dropped; the list of them then lies
    in logs/rejects-quality.jsonl.
    """
    clips = table.read(measures, manifest.shard_names(settings.shards))
    lost = dropped(clips, settings.quality.drop, wav)
    refuse(lost, len(clips), settings.quality.max_dropped_share)
    manifest.write(out / "rejects.jsonl", lost)
    ids = {reject.id for reject in lost}
    kept = np.array([i not in ids for i in clips.ids], dtype=bool)
    if kept.sum() + len(lost) != len(clips):
        raise AssertionError(f"{len(clips)} clips in, {kept.sum()} kept and {len(lost)} dropped")
    counted = f": {rejects.counted(lost)}" if lost else ""
    log.info("quality: %d clips kept, %d dropped%s", kept.sum(), len(lost), counted)
    return {
        "clips": int(kept.sum()),
        "dropped": len(lost),
        "hours": float(clips.values["duration_s"][kept].sum()) / 3600,
    }


def dropped(clips: Table, limits: dict[str, float], wav: Path) -> list[Reject]:
    """One reject for each clip beyond any of the limits, code -> limit; the first code of a clip names it."""
    found: dict[int, Reject] = {}
    for code, limit in BY_CODE.items():
        if code not in limits:
            continue
        beyond = limit.beyond(clips, limits[code])
        for index in np.flatnonzero(beyond).tolist():
            value = clips.values[limit.measure][index]
            reason = f"its {limit.measure} is {value:g}, the limit of quality.drop is {limits[code]:g}"
            path = clips.audio(index, wav).as_posix()
            found.setdefault(index, Reject.of(clips.ids[index], path, "quality", ClipError(code, reason)))
    return [found[index] for index in sorted(found)]


def refuse(lost: list[Reject], clips: int, allowed: float) -> None:
    """Stop when too much would be dropped."""
    if len(lost) <= allowed * clips:
        return
    manifest.write(REFUSED, lost)
    raise InputError(
        f"quality.drop would drop {len(lost)} of {clips} clips ({len(lost) / clips:.1%}): "
        f"{rejects.counted(lost)}; allowed are {allowed:.1%} (quality.max_dropped_share). Take a code out of "
        f"quality.drop, or make its limit milder. The clips, with reasons, are in {REFUSED}"
    )
