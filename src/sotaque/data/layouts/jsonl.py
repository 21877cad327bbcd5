"""JSONL manifests: NeMo's keys (`audio_filepath`, `text`, `duration`, `offset`) and this project's own.

A file may also be one JSON list of such objects. A piece of a recording has no id of its own there: its
start in milliseconds is added to the recording's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.data.layouts import columns, parts, record, recordings, sources, table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError, InputError

LOOKS_FOR = 'a .jsonl or .json with a line for each clip: {"audio_filepath": "a.wav", "text": "..."}'
SUFFIXES = (".jsonl", ".json", ".ndjson")
MAX_LIST_BYTES = 2**26
_FIRST_LINES = 10


def matches(folder: Path) -> bool:
    return bool(_manifests(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio = recordings.of(folder)
    for path in _manifests(folder):
        part = parts.part_of(path.stem)
        inside = path.relative_to(folder).as_posix().removesuffix(path.name)
        for row in recordings.resolve(listed(path, inside), audio):
            yield replace(row, part=row.part or part)


def listed(path: Path, inside: str, lead: str = "") -> list[Row]:
    """One row for each line that is not blank, or entry of a list; what is no JSON object has a fault.

    inside: what leads from the corpus folder to the file. lead: what leads to where its audio paths begin.
    """
    keys: dict[str, None] = {}
    found = []
    for where, values, fault in entries(path, inside):
        if fault:
            found.append(Row(where, where, "", "", fault=fault))
        else:
            keys |= dict.fromkeys(values)
            found.append(record.row(values, where, lead, has_pieces=True))
    record.note(f"{inside}{path.name}", len(found), keys)
    return found


def entries(path: Path, inside: str = "") -> Iterator[tuple[str, dict[str, Any], ClipError | None]]:
    """(file and line, the object there, why it is none)"""
    name = f"{inside}{path.name}"
    listed_entries = _listed_entries(path, inside)
    if listed_entries:
        for number, values in enumerate(listed_entries, start=1):
            yield _entry(f"{name}, entry {number}", values, str(values))
        return
    for line in table.lines(path, table.WHOLE, inside):
        if line.fault:
            yield line.where, {}, line.fault
        else:
            yield _entry(line.where, parsed(line.cells[0]), line.cells[0])


def _entry(where: str, values: Any, written: str) -> tuple[str, dict[str, Any], ClipError | None]:
    if isinstance(values, dict):
        return where, values, None
    return where, {}, ClipError("json", f"{where}: not a JSON object: {written[:80]!r}")


def _listed_entries(path: Path, inside: str) -> list[Any]:
    """The entries of a file that is one JSON list which begins with an object; empty for any other.

    Raises InputError for a list that is too large to be read at once.
    """
    if not re.match(r"\[\s*(\{|$)", sources.first_line(path).strip()):
        return []
    if path.stat().st_size > MAX_LIST_BYTES:
        raise InputError(
            f"{path}: one JSON list of {path.stat().st_size} bytes, at most {MAX_LIST_BYTES} are read; "
            f"write one object on each line: jq -c '.[]' OLD.json > NEW.jsonl"
        )
    found = parsed(sources.read_listing(path, inside))
    return found if isinstance(found, list) and found and isinstance(found[0], dict) else []


def parsed(line: str) -> Any:
    """The value of a line of JSON, None when it is not JSON."""
    try:
        return files.parse_json(line)
    except ValueError:
        return None


def first_entries(path: Path) -> list[dict[str, Any]]:
    """The objects at the beginning of a file, for looking at it."""
    lines = sources.first_lines(path, _FIRST_LINES)
    if lines and re.match(r"\[\s*(\{|$)", lines[0].strip()):
        return _listed_entries(path, "")[:1]
    return [values for values in map(parsed, lines) if isinstance(values, dict)]


def _manifests(folder: Path) -> list[Path]:
    return recordings.listings(folder, SUFFIXES, lambda path: any(map(_names_audio, first_entries(path))))


def _names_audio(entry: dict[str, Any]) -> bool:
    return "audio" in columns.of_header(tuple(entry))
