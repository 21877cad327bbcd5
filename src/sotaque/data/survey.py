"""One page about the corpus: how much there is, what was dropped, what is doubtful, the worst to hear."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from sotaque import files
from sotaque import manifest as manifests
from sotaque.data.measures import table
from sotaque.data.measures.characters import Alphabet
from sotaque.data.measures.limits import LIMITS
from sotaque.data.measures.table import Table
from sotaque.data.page import counts, render
from sotaque.manifest import Reject
from sotaque.settings import Settings

log = logging.getLogger("sotaque")


def run(
    settings: Settings, *, manifest: Path, wav: Path, measures: Path, quality: Path, base: Path, out: Path
) -> dict[str, float]:
    """Write out.html, and out.jsonl: a row for every clip that normalize kept, by id.

    Returns clips, hours, how many are flagged, and how many by each code.
    """
    shards = manifests.shard_names(settings.shards)
    clips = table.read(measures, shards)
    flags = {limit.code: limit.beyond(clips, limit.bound(settings.quality)) for limit in LIMITS}
    dropped = manifests.read(quality / "rejects.jsonl", Reject)
    write_rows(Path(f"{out}.jsonl"), clips, flags, {reject.id: reject.code for reject in dropped})
    page = render.Page(
        settings=settings, clips=clips, flags=flags, wav=wav, dropped=dropped, alphabet=Alphabet.of(base),
        stages=counts.stages(manifest, wav, dropped, shards),
        read=files.read_json(manifest / "listings.json"),
    )  # fmt: skip
    files.write_text(Path(f"{out}.html"), page.html())
    flagged = np.any(list(flags.values()), axis=0)
    log.info("survey: %d of %d clips are flagged: %s", flagged.sum(), len(clips), f"{out}.html")
    return {
        "clips": len(clips),
        "hours": float(clips.values["duration_s"].sum()) / 3600,
        "flagged": int(flagged.sum()),
        **{code: int(beyond.sum()) for code, beyond in flags.items()},
    }


def write_rows(path: Path, clips: Table, flags: dict[str, np.ndarray], dropped: dict[str, str]) -> None:
    """The rows of a table, one at a time, each with its flags and the code that it was dropped for."""
    with files.atomic(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for index in range(len(clips)):
            row = clips.row(index)
            row["flags"] = [code for code, beyond in flags.items() if beyond[index]]
            row["dropped"] = dropped.get(row["id"], "")
            stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
