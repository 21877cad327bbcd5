"""LJSpeech: metadata.csv with `id|raw|normalised` (or `id|text`), never quoted, and wavs/<id>.wav.

A header row may name further columns. The normalised text is taken where there is one, as is the custom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv with lines `id|text` or `id|raw|normalised`, and wavs/<id>.wav"
POSITIONS = {"id": 0, "text": 1, "normalised": 2}


def matches(folder: Path) -> bool:
    listing = folder / "metadata.csv"
    if not listing.is_file() or not (folder / "wavs").is_dir():
        return False
    cells = table.cut(table.first_line(listing), "|")
    if "id" in table.columns(cells):
        return True
    return len(cells) in (2, 3) and not table.columns(cells) and not _names_file(cells[0])


def rows(folder: Path) -> Iterator[Row]:
    lines = table.lines(folder / "metadata.csv", "|")
    places = table.columns(lines[0].cells) if lines else {}
    body = lines[1:] if places else lines
    counts = range(len(lines[0].cells), len(lines[0].cells) + 1) if places else range(2, 4)
    for line in body:
        row = table.row(line, places or POSITIONS, counts)
        yield row if row.audio else replace(row, audio=_wav_of(folder, row.id))


def _wav_of(folder: Path, identifier: str) -> str:
    return table.with_suffix(folder, f"wavs/{table.without_suffix(identifier)}")


def _names_file(cell: str) -> bool:
    return table.without_suffix(cell.strip()) != cell.strip()
