"""Chatterbox: metadata.csv, quoted, headed `audio_path,transcript,speaker_id,duration`, and audio/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sotaque.data.layouts import columns, recordings, sources, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv with the header `audio_path,transcript,...`, and audio/"
_LISTING = "metadata.csv"
_COLUMNS = {columns.key_of(name) for name in ("audio_path", "transcript")}


def matches(folder: Path) -> bool:
    header = sources.first_line(folder / _LISTING).split(",")
    return {columns.key_of(cell.strip(' "')) for cell in header} >= _COLUMNS


def rows(folder: Path) -> Iterator[Row]:
    audio = recordings.of(folder)
    yield from recordings.resolve(table.read(folder / _LISTING, audio, ","), audio)
