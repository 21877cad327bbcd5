"""JSONL manifests: NeMo's keys (`audio_filepath`, `text`, `duration`, `offset`) and this project's own.

A file may also be one JSON list of such objects. A piece of a recording has no id of its own there: its
start in milliseconds is added to the recording's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sotaque.data.layouts import parts, record, table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = 'a .jsonl or .json with a line for each clip: {"audio_filepath": "a.wav", "text": "..."}'
SUFFIXES = (".jsonl", ".json", ".ndjson")
_LONGEST_S = 1e7


def matches(folder: Path) -> bool:
    return bool(_manifests(folder))


def rows(folder: Path) -> Iterator[Row]:
    for path in _manifests(folder):
        part = parts.part_of(path.stem)
        for row in listed(path):
            yield replace(row, part=row.part or part, audio=table.located(folder, row.audio))


def listed(path: Path, inside: str = "") -> Iterator[Row]:
    """One row for each line that is not blank, or entry of a list; what is no JSON object has a fault."""
    entries = _listed_entries(path)
    if entries:
        for number, values in enumerate(entries, start=1):
            yield _row(values, str(values), f"{inside}{path.name}, entry {number}", inside)
        return
    for line in table.lines(path, table.WHOLE, inside):
        if line.fault:
            yield Row(line.where, line.where, "", "", fault=line.fault)
        else:
            yield _row(parsed(line.cells[0]), line.cells[0], line.where, inside)


def _row(values: Any, written: str, where: str, inside: str) -> Row:
    if isinstance(values, dict):
        return _pieced(record.row(values, where, inside), values)
    fault = ClipError("json", f"{where}: not a JSON object: {written[:80]!r}")
    return Row(where, where, "", "", fault=fault)


def _listed_entries(path: Path) -> list[Any]:
    """The entries of a file that is one JSON list which begins with an object; empty for any other."""
    if not re.match(r"\[\s*(\{|$)", table.first_line(path).strip()):
        return []
    entries = parsed(table.decode(path.read_bytes(), str(path)))
    return entries if isinstance(entries, list) and entries and isinstance(entries[0], dict) else []


def parsed(line: str) -> Any:
    """The value of a line of JSON, None when it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def names(values: Any) -> dict[str, int]:
    """What an object names, as table.columns has it; empty for all that is no object."""
    return table.columns(tuple(values)) if isinstance(values, dict) else {}


def _manifests(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    return [path for path in files if "audio" in names(_first(path))]


def _first(path: Path) -> Any:
    """The first entry, or the first line, as a value."""
    return next(iter(_listed_entries(path)), None) or parsed(table.first_line(path))


def _pieced(row: Row, values: dict[str, Any]) -> Row:
    """The row with the piece of audio that `offset` and `duration`, or `start_s` and `end_s`, say.

    As in NeMo, a duration of 0 or below means: to the end.
    """
    try:
        start_s = _seconds(values, "offset") or _seconds(values, "start_s") or 0.0
        end_s, duration_s = _seconds(values, "end_s"), _seconds(values, "duration")
    except ValueError as error:
        return replace(row, fault=row.fault or ClipError("segment", f"{row.where}: {error}"))
    if end_s is None and duration_s is not None and duration_s > 0:
        end_s = start_s + duration_s
    unnamed = "id" not in names(values) and start_s > 0
    name = f"{row.id}-{round(start_s * 1000):08d}" if unnamed else row.id
    return replace(row, id=name, start_s=start_s, end_s=end_s)


def _seconds(values: dict[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LONGEST_S < value < _LONGEST_S:
        raise ValueError(f"{key} is {value!r}"[:80] + ", expected seconds")
    return float(value)
