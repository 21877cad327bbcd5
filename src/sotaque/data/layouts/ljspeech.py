"""LJSpeech: metadata.csv (or .txt) with `id|raw|normalised`, or `id|text`, and wavs/<id>.wav.

A header row may name further columns; without one, the cells say which is the text and which the speaker. The
normalised text is taken where there is one, as is the custom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import columns, recordings, sources, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "metadata.csv or metadata.txt with lines `id|text` or `id|raw|normalised`, and wavs/<id>.wav"
LISTINGS = ("metadata.csv", "metadata.txt")


def matches(folder: Path) -> bool:
    return _listing(folder) is not None


def rows(folder: Path) -> Iterator[Row]:
    listing, audio = _listing(folder), recordings.of(folder)
    if listing is None:
        return
    found = table.read(listing, audio, "|", has_normalised=True)
    paths = (replace(row, audio=row.audio or row.id) for row in found)
    for row in recordings.resolve(paths, audio, "wavs/"):
        there = sources.is_file(folder / row.audio)
        yield row if there else replace(row, audio=audio.of_stem(recordings.without_suffix(row.audio)))


def _listing(folder: Path) -> Path | None:
    if not (folder / "wavs").is_dir():
        return None
    return next((folder / name for name in LISTINGS if _is_listing(folder / name)), None)


def _is_listing(path: Path) -> bool:
    cells = sources.first_line(path).split("|")
    if "id" in columns.of_header(cells):
        return True
    return len(cells) > 1 and not columns.of_header(cells) and not recordings.is_audio(cells[0].strip(' "'))
