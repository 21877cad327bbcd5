"""Utterances and their JSONL manifests: one JSON object a line, UTF-8, sorted by id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from sotaque import files
from sotaque.errors import ClipError, InputError


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip and its transcript.

    id: unique in the corpus; letters, digits, `.`, `_`, `-` only, so that it can name a file.
    audio: path relative to the working folder.
    text: as written in the corpus, Unicode NFC.
    part: train, val or test where the corpus itself says so, else empty (the split stage decides).
    group: a named subset of the test clips that is reported beside the headline, else empty.
    start_s, end_s: the piece of `audio` that the clip is, where it is not the whole file.
    source_sha256: of the corpus' file, so that a manifest changes when a recording does.
    """

    id: str
    audio: str
    text: str
    speaker: str
    language: str
    accent: str = ""
    gender: str = ""
    duration_s: float = 0.0
    loudness_lufs: float | None = None
    part: str = ""
    group: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    source_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """One clip that was dropped: where, why (a stable code), what was found, and the way out."""

    id: str
    audio: str
    stage: str
    code: str
    reason: str

    @classmethod
    def of(cls, identifier: str, audio: str, stage: str, error: ClipError) -> Self:
        """Bytes in names that are not UTF-8 are written as escapes."""
        audio, reason = (w.encode("utf-8", "backslashreplace").decode() for w in (audio, error.advice))
        return cls(identifier, audio, stage, error.code, reason)


class Warned(Reject):
    """One clip that was kept, and what about it should be looked at."""


def shard_of(identifier: str, shards: int) -> str:
    """The shard of a clip, `00` to `shards - 1`: sha256(id) mod shards, the same on every machine."""
    value = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")
    return shard_name(value % shards, shards)


def shard_name(index: int, shards: int) -> str:
    return f"{index:0{max(2, len(str(shards - 1)))}d}"


def shard_names(shards: int) -> list[str]:
    return [shard_name(i, shards) for i in range(shards)]


def write(path: Path, rows: Iterable[Any]) -> None:
    """Write dataclass rows as JSONL, sorted by id, atomically."""
    with files.atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(_lines(rows))


def jsonl(rows: Iterable[Any]) -> str:
    return "".join(_lines(rows))


def _lines(rows: Iterable[Any]) -> Iterator[str]:
    for row in sorted(rows, key=lambda row: row.id):
        values = {field.name: getattr(row, field.name) for field in fields(row)}
        yield json.dumps(values, ensure_ascii=False, sort_keys=True) + "\n"


def read(path: Path, kind: type = Utterance) -> list[Any]:
    """Read JSONL rows of `kind`.

    Raises InputError naming file and line when a line is not JSON, lacks a field or has an unknown one.
    """
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file; run the stage that writes it (snakemake --cores all)"
        )
    known = {f.name for f in fields(kind)}
    rows = {}
    with path.open(encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            if line == "\n":
                continue
            try:
                value = json.loads(line)
                unknown = set(value) - known
                if unknown:
                    raise ValueError(f"unknown fields {sorted(unknown)}, expected {sorted(known)}")
                row = kind(**value)
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            if row.id in rows:
                raise InputError(f"{path}, line {number}: the id {row.id!r} stands twice")
            rows[row.id] = row
    return list(rows.values())
