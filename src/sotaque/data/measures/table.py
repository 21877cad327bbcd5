"""The measures of a whole corpus in columns: 300 bytes a clip, so that 100,000 clips are no burden."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import manifest
from sotaque.data.measures.relative import earlier, robust_z
from sotaque.data.measures.row import Measures

WORDS = ("speaker", "language", "accent")
NUMBERS = tuple(f.name for f in fields(Measures) if "float" in str(f.type) or "int" in str(f.type))
COUNTS = ("foreign_characters", "unknown_characters", "earlier_audio", "earlier_sentence")
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Table:
    """Clips in order of id.

    words: column -> a word each; with `shard` beside those of the rows. heard: id -> what the ASR heard.
    values: column -> (N,) float64, NaN where nothing was measured; those of the rows, and
    rate_z, codec_z: modified z-scores of characters_per_s among the clips of its language, and of
    codec_distance_db among all; earlier_audio, earlier_sentence: clips before it with the same.
    """

    ids: list[str]
    words: dict[str, list[str]]
    values: dict[str, np.ndarray]
    heard: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    def audio(self, index: int, wav: Path) -> Path:
        """The WAV of a clip, below the folder of all shards."""
        return wav / self.words["shard"][index] / f"{self.ids[index]}.wav"

    def row(self, index: int) -> dict[str, Any]:
        """A clip as plain values, None where nothing was measured."""
        found: dict[str, Any] = {"id": self.ids[index], "heard": self.heard.get(self.ids[index], "")}
        found |= {name: column[index] for name, column in self.words.items()}
        for name, column in self.values.items():
            value = column[index].item()
            found[name] = None if np.isnan(value) else int(value) if name in COUNTS else value
        return found


def read(folder: Path, shards: list[str]) -> Table:
    """Read folder/<shard>.jsonl of every shard, one after the other."""
    ids: list[str] = []
    words: dict[str, list[str]] = {name: [] for name in (*WORDS, "shard")}
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
    digests: dict[str, list[bytes]] = {"samples_sha256": [], "sentence_sha256": []}
    heard: dict[str, str] = {}
    for shard in shards:
        rows = manifest.read(folder / f"{shard}.jsonl", Measures)
        ids += [row.id for row in rows]
        words["shard"] += [shard] * len(rows)
        for name in WORDS:
            words[name] += [sys.intern(getattr(row, name)) for row in rows]
        for name in NUMBERS:
            numbers[name].append(np.array([getattr(row, name) for row in rows], dtype=float))
        for name, column in digests.items():
            column += [bytes.fromhex(getattr(row, name))[:_DIGEST_BYTES] for row in rows]
        heard |= {row.id: row.heard for row in rows if row.heard}
    order = sorted(range(len(ids)), key=ids.__getitem__)

    def sorted_by_id(column: list) -> list:
        return [column[i] for i in order]

    words = {name: sorted_by_id(column) for name, column in words.items()}
    values = {name: np.concatenate(parts)[order] for name, parts in numbers.items()}
    values["rate_z"] = robust_z(values["characters_per_s"], words["language"]).round(3)
    values["codec_z"] = robust_z(values["codec_distance_db"], [""] * len(ids)).round(3)
    values["earlier_audio"] = earlier(sorted_by_id(digests["samples_sha256"]))
    values["earlier_sentence"] = earlier(sorted_by_id(digests["sentence_sha256"]))
    return Table(sorted_by_id(ids), words, values, heard)
