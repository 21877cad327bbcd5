"""How many clips every stage was given, kept and rejected, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sotaque import manifest as manifests
from sotaque import rejects
from sotaque.manifest import Reject, Warned


@dataclass(frozen=True)
class StageCount:
    """given = kept + rejected. by_code: of the rejected ones, as rejects.by_code has it; likewise warned."""

    name: str
    given: int
    kept: int
    by_code: list[dict[str, Any]]
    warned: list[dict[str, Any]]

    @property
    def rejected(self) -> int:
        return self.given - self.kept


def stages(manifest: Path, wav: Path, dropped: Sequence[Reject], shards: Sequence[str]) -> list[StageCount]:
    """Ingest, normalize and quality.

    Raises AssertionError when a clip is lost between two of them.
    """
    ingested = sum(len(manifests.read(manifest / f"{shard}.jsonl")) for shard in shards)
    normalized = sum(len(manifests.read(wav / shard / "manifest.jsonl")) for shard in shards)
    refused = manifests.read(manifest / "rejects.jsonl", Reject)
    unfit = [r for shard in shards for r in manifests.read(wav / shard / "rejects.jsonl", Reject)]
    if normalized + len(unfit) != ingested:
        raise AssertionError(f"{ingested} clips ingested, {normalized} normalised, {len(unfit)} rejected")
    warnings = manifests.read(manifest / "warnings.jsonl", Warned)
    given = ingested + len(refused)
    return [
        StageCount("ingest", given, ingested, rejects.by_code(refused), rejects.by_code(warnings)),
        StageCount("normalize", ingested, normalized, rejects.by_code(unfit), []),
        StageCount("quality", normalized, normalized - len(dropped), rejects.by_code(dropped), []),
    ]
