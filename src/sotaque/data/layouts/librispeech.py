"""LibriSpeech and MLS: recordings in <speaker>/<chapter>/, their texts in one listing.

LibriSpeech has a listing in each chapter's folder, <speaker>-<chapter>.trans.txt with lines `id TEXT`. MLS
has one for each part, <part>/transcripts.txt with lines `id TAB text`, and the recordings in <part>/audio/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import parts, table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = (
    "<speaker>/<chapter>/*.trans.txt with lines `id TEXT`, or <part>/transcripts.txt with `id TAB text`"
)
CHAPTER, PART = ".trans.txt", "transcripts.txt"
SPEAKERS = ("SPEAKERS.TXT", "metainfo.txt")
_DEPTH = 4


def matches(folder: Path) -> bool:
    return next(_listings(folder), None) is not None


def rows(folder: Path) -> Iterator[Row]:
    """One row per line; one more, with a fault, per recording that the listing beside it leaves out."""
    genders = _genders(folder)
    for path in _listings(folder):
        inside = path.relative_to(folder).as_posix().removesuffix(path.name)
        read = _chapter if path.name.endswith(CHAPTER) else _part
        part = parts.part_of(inside.split("/")[0].split("-")[0])
        for row in read(folder, path, inside):
            yield replace(row, part=part, gender=genders.get(row.speaker, ""))


def _chapter(folder: Path, listing: Path, inside: str) -> Iterator[Row]:
    speaker, listed = listing.parent.parent.name, set()
    for line in table.lines(listing, table.WHOLE, inside):
        name, text = (*line.cells[0].split(maxsplit=1), "")[:2]
        listed.add(name)
        audio = table.with_suffix(folder, f"{inside}{name}")
        yield Row(line.where, name, audio, text, speaker, fault=line.fault)
    for name in sorted(path.name for path in listing.parent.iterdir()):
        stem, where = table.without_suffix(name), f"{inside}{name}"
        if stem not in (name, *listed):
            fault = ClipError("no-transcript", f"{inside}{listing.name} has no line for {stem!r}")
            yield Row(where, stem, where, "", speaker, fault=fault)


def _part(folder: Path, listing: Path, inside: str) -> Iterator[Row]:
    """An id is `speaker_book_number`."""
    for line in table.lines(listing, "\t", inside):
        row = table.row(line, {"id": 0, "text": 1}, range(2, 3))
        speaker, book = (*row.id.split("_"), "", "")[:2]
        audio = table.with_suffix(folder, f"{inside}audio/{speaker}/{book}/{row.id}")
        yield replace(row, audio=audio, speaker=speaker)


def _listings(folder: Path) -> Iterator[Path]:
    """In order; links to folders are not followed."""
    for at, inside, here in os.walk(folder):
        place = Path(at)
        deep = len(place.relative_to(folder).parts)
        inside[:] = sorted(inside) if deep < _DEPTH else []
        for name in sorted(here):
            of_part = name == PART and (place / "audio").is_dir()
            if name.endswith(CHAPTER) or of_part:
                yield place / name


def _genders(folder: Path) -> dict[str, str]:
    """Speaker -> f or m, by a table cut by `|` at the top, where there is one."""
    found = {}
    for name in SPEAKERS:
        path = folder / name
        for line in table.lines(path, "|") if path.is_file() else ():
            if len(line.cells) > 1 and not line.cells[0].startswith(";"):
                found[line.cells[0].strip()] = line.cells[1].strip().lower()
    return found
