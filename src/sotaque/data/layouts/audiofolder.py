"""Hugging Face's audiofolder: metadata.csv or .jsonl with `file_name`, here or in a folder per part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import columns, jsonl, parts, recordings, sources, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv or metadata.jsonl with file_name and text, here or in train/, validation/, test/"
FILE = columns.key_of("file_name")


def matches(folder: Path) -> bool:
    return bool(_listings(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio = recordings.of(folder)
    for path, (inside, part) in _listings(folder).items():
        is_jsonl = path.suffix == ".jsonl"
        found = jsonl.listed(path, inside, inside) if is_jsonl else table.read(path, audio, ",", inside)
        for row in recordings.resolve(found, audio):
            yield replace(row, part=row.part or part)


def _listings(folder: Path) -> dict[Path, tuple[str, str]]:
    """Listing -> what leads to it and its part. Of a .csv and a .jsonl side by side the .csv is taken."""
    found = {}
    for inside, part in parts.folders(folder).items():
        both = (folder / inside / name for name in ("metadata.csv", "metadata.jsonl"))
        for path in [path for path in both if _names_files(path)][:1]:
            found[path] = (inside, part)
    return found


def _names_files(path: Path) -> bool:
    line = sources.first_line(path)
    values = jsonl.parsed(line) if path.suffix == ".jsonl" else line.replace('"', "").split(",")
    header = tuple(values) if isinstance(values, dict | list) else ()
    names = all(isinstance(name, str) for name in header)
    return names and FILE in map(columns.key_of, header) and bool(columns.of_header(header))
