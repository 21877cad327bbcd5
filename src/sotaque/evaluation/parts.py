"""Which clips a model learnt from and was heard on, in a few words that two models can be compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sotaque import files, manifest

PARTS = ("train", "val", "test")
FIELDS = ("id", "speaker", "language", "text", "source_sha256")


def fingerprints(splits: Path) -> dict[str, dict[str, Any]]:
    """part -> the number of its clips, and the checksum of their ids, speakers, texts and recordings.

    Models that hear at different rates have other WAVs of the same clips, and the same fingerprints.
    """
    found = {}
    for part in PARTS:
        utterances = manifest.read(splits / f"{part}.jsonl")
        rows = [[getattr(utterance, name) for name in FIELDS] for utterance in utterances]
        found[part] = {"clips": len(rows), "sha256": files.sha256_of(sorted(rows))}
    return found
