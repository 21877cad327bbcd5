"""Hugging Face's audiofolder: metadata.csv or .jsonl with `file_name`, here or in a folder per part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import jsonl, parts, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv or metadata.jsonl with file_name and text, here or in train/, validation/, test/"
FILE = "file_name"


def matches(folder: Path) -> bool:
    return bool(_listings(folder))


def rows(folder: Path) -> Iterator[Row]:
    for path, (inside, part) in _listings(folder).items():
        for row in jsonl.listed(path, inside) if path.suffix == ".jsonl" else _rows(path, inside):
            yield replace(row, part=row.part or part)


def _listings(folder: Path) -> dict[Path, tuple[str, str]]:
    """Listing -> what leads to it and its part. Of a .csv and a .jsonl side by side the .csv is taken."""
    found = {}
    for inside, part in parts.folders(folder).items():
        both = (folder / inside / name for name in ("metadata.csv", "metadata.jsonl"))
        for path in [path for path in both if path.is_file() and _names_files(path)][:1]:
            found[path] = (inside, part)
    return found


def _names_files(path: Path) -> bool:
    line = table.first_line(path)
    values = jsonl.parsed(line) if path.suffix == ".jsonl" else line.replace('"', "").split(",")
    header = tuple(values) if isinstance(values, dict | list) else ()
    return FILE in header and bool(table.columns(header))


def _rows(path: Path, inside: str) -> Iterator[Row]:
    header, *body = table.lines(path, ",", inside)
    places, count = table.columns(header.cells), len(header.cells)
    for line in body:
        yield table.row(line, places, range(count, count + 1), inside)
