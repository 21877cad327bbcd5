"""Chatterbox: metadata.csv, quoted, headed `audio_path,transcript,speaker_id,duration`, and audio/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv with the header `audio_path,transcript,...`, and audio/"


def matches(folder: Path) -> bool:
    listing = folder / "metadata.csv"
    if not listing.is_file():
        return False
    header = {cell.strip(' "').lower() for cell in table.first_line(listing).split(",")}
    return {"audio_path", "transcript"} <= header


def rows(folder: Path) -> Iterator[Row]:
    header, *body = table.lines(folder / "metadata.csv", ",")
    places = table.columns(header.cells)
    count = len(header.cells)
    for line in body:
        row = table.row(line, places, range(count, count + 1))
        yield replace(row, audio=table.located(folder, row.audio))
