"""Drop the clips that quality.drop asks for, before split: each is listed with its code and reason.

Everything else that is measured is only told on the page of the stage survey.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from sotaque import manifest as manifests
from sotaque import rejects
from sotaque.data.measures import table
from sotaque.data.measures.limits import BY_CODE
from sotaque.data.measures.table import Table
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject
from sotaque.settings import Settings

REFUSED = Path("logs/rejects-quality.jsonl")
REJECTED = Path("logs/rejects-all.jsonl")
log = logging.getLogger("sotaque")


def run(settings: Settings, *, manifest: Path, measures: Path, wav: Path, out: Path) -> dict[str, float]:
    """Write out/rejects.jsonl; returns clips, dropped and the hours that are kept.

    Raises InputError when ingest and normalize together rejected more than ingest.max_rejected_share, or
    more than quality.max_dropped_share would be dropped; logs/rejects-*.jsonl then lists the clips.
    """
    check_rejects(settings, manifest, wav)
    clips = table.read(measures, manifests.shard_names(settings.shards))
    lost = dropped(clips, settings.quality.drop, wav)
    refuse(lost, len(clips), settings.quality.max_dropped_share)
    manifests.write(out / "rejects.jsonl", lost)
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


def check_rejects(settings: Settings, manifest: Path, wav: Path) -> None:
    """Stop when ingest and normalize lost too many clips or minutes: only here are all shards known."""
    shards = manifests.shard_names(settings.shards)
    lost = manifests.read(manifest / "rejects.jsonl", Reject)
    duration_s = sum(reject.duration_s for reject in lost)
    clips = len(lost)
    for shard in shards:
        utterances = manifests.read(manifest / f"{shard}.jsonl")
        clips += len(utterances)
        duration_s += sum(utterance.duration_s for utterance in utterances)
        lost += manifests.read(wav / shard / "rejects.jsonl", Reject)
    where = f"{manifest} and {wav}: ingest and normalize together lose too much"
    allowed = settings.ingest.max_rejected_share
    rejects.refuse(lost, clips, duration_s, allowed, where=where, into=REJECTED)


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
    manifests.write(REFUSED, lost)
    raise InputError(
        f"quality.drop would drop {len(lost)} of {clips} clips ({len(lost) / clips:.1%}): "
        f"{rejects.counted(lost)}; allowed are {allowed:.1%} (quality.max_dropped_share). Take a code out of "
        f"quality.drop, or make its limit milder. The clips, with reasons, are in {REFUSED}"
    )
