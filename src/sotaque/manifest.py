"""Utterances and their JSONL manifests: one JSON object a line, UTF-8, sorted by id."""

from __future__ import annotations

import hashlib
import json
import math
import typing
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Self

from sotaque import files
from sotaque.errors import ClipError, InputError

_DAMAGED = "run the stage that writes it again"
_LARGEST = 2**53  # of whole numbers that a float holds exactly


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
    """One clip that was dropped: where, why (a stable code), what was found, and the way out.

    duration_s: of its recording, 0.0 where that is not known.
    """

    id: str
    audio: str
    stage: str
    code: str
    reason: str
    duration_s: float = 0.0

    @classmethod
    def of(cls, identifier: str, audio: str, stage: str, error: ClipError, duration_s: float = 0.0) -> Self:
        """Bytes in names that are not UTF-8 are written as escapes."""
        audio, reason = files.escape(audio), files.escape(error.advice)
        return cls(identifier, audio, stage, error.code, reason, duration_s or error.duration_s)


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

    Raises InputError naming file and line when a line is not JSON, lacks a field, has an unknown one or one
    of another type.
    """
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file; run the stage that writes it (snakemake --cores all)"
        )
    types = _types_of(kind)
    rows = {}
    try:
        for number, line, is_cut in files.iterate_lines(path):
            if not line:
                continue
            row = _row(line, is_cut, kind, types, f"{path}, line {number}")
            if row.id in rows:
                raise InputError(f"{path}, line {number}: the id {row.id!r} stands twice")
            rows[row.id] = row
    except ClipError as error:
        raise InputError(f"{error.reason}; {_DAMAGED}") from None
    return list(rows.values())


def _types_of(kind: type) -> dict[str, tuple[type, ...]]:
    """Field -> the types that its value may have; NoneType for null."""
    hints = typing.get_type_hints(kind)
    return {
        name: typing.get_args(hint) if typing.get_origin(hint) is UnionType else (hint,)
        for name, hint in hints.items()
    }


def _row(line: str, is_cut: bool, kind: type, types: dict[str, tuple[type, ...]], where: str) -> Any:
    """One row; every value has the type that its field declares, and whole numbers are numbers too."""
    if is_cut:
        raise InputError(f"{where}: over {len(line)} characters on one line; {_DAMAGED}")
    try:
        value = files.parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}; {_DAMAGED}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {line[:80]!r}, expected one JSON object; {_DAMAGED}")
    unknown, missing = value.keys() - types.keys(), types.keys() - value.keys()
    missing -= {field.name for field in fields(kind) if field.default is not MISSING}
    if unknown or missing:
        raise InputError(
            f"{where}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}, "
            f"expected {sorted(types)}; {_DAMAGED}"
        )
    for name, found in value.items():
        allowed = types[name]
        if float in allowed and type(found) is int and abs(found) < _LARGEST:
            value[name] = found = float(found)
        if type(found) not in allowed or (isinstance(found, float) and not math.isfinite(found)):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
            raise InputError(f"{where}: {name} is {found!r:.80}, expected {expected}; {_DAMAGED}")
        if isinstance(found, str) and not files.is_utf8(found):
            raise InputError(f"{where}: {name} holds bytes that are not UTF-8; {_DAMAGED}")
    return kind(**value)
