"""LibriSpeech and MLS: recordings in <part>/<speaker>/<chapter>/, their texts in one listing.

LibriSpeech has a listing in each chapter's folder, <speaker>-<chapter>.trans.txt with lines `id TEXT`. MLS
has one for each part, <part>/transcripts.txt with lines `id TAB text`, and the recordings in <part>/audio/.
The folder of an archive may lie around them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sotaque.data.layouts import parts, recordings, sources, table
from sotaque.data.layouts.recordings import Recordings, without_suffix
from sotaque.data.layouts.row import Row
from sotaque.data.layouts.table import Line
from sotaque.errors import ClipError

LOOKS_FOR = (
    "<speaker>/<chapter>/*.trans.txt with lines `id TEXT`, or <part>/transcripts.txt with `id TAB text`"
)
CHAPTER, PART = ".trans.txt", "transcripts.txt"
SPEAKERS = ("SPEAKERS.TXT", "metainfo.txt")
_DEPTH = 6


def matches(folder: Path) -> bool:
    return next(_listings(folder), None) is not None


def rows(folder: Path) -> Iterator[Row]:
    """One row per line; one more, with a fault, per recording that the listing beside it leaves out."""
    audio = recordings.of(folder)
    genders: dict[Path, dict[str, str]] = {}
    for path in _listings(folder):
        inside = path.relative_to(folder).as_posix().removesuffix(path.name)
        is_chapter = path.name.endswith(CHAPTER)
        read = _chapter if is_chapter else _part
        above = (
            PurePosixPath(inside).parents[1]
            if is_chapter and inside.count("/") > 1
            else PurePosixPath(inside)
        )
        part = parts.part_of(above.name.split("-")[0])
        known = _genders(folder, folder / above, genders)
        for row in read(folder, path, inside, audio):
            yield replace(row, part=part, gender=known.get(row.speaker, ""))


def _chapter(folder: Path, listing: Path, inside: str, audio: Recordings) -> Iterator[Row]:
    speaker, listed = listing.parent.parent.name, set()
    found = [
        (line, *(*line.cells[0].split(maxsplit=1), "")[:2])
        for line in table.lines(listing, table.WHOLE, inside)
    ]
    paths = [audio.of_stem(f"{inside}{name}") for _, name, _ in found]
    checked = _mark_broken(
        [(line, name) for line, name, _ in found], [sources.is_file(folder / p) for p in paths]
    )
    for line, (_, name, text), path in zip(checked, found, paths, strict=True):
        listed.add(name)
        yield Row(line.where, name, path, text, speaker, fault=line.fault)
    for path in sources.entries(listing.parent):
        name = path.name
        stem, where = without_suffix(name), f"{inside}{name}"
        if stem not in (name, *listed):
            fault = ClipError("no-transcript", f"{inside}{listing.name} has no line for {stem!r}")
            yield Row(where, stem, where, "", speaker, fault=fault)


def _part(folder: Path, listing: Path, inside: str, audio: Recordings) -> Iterator[Row]:
    """An id is `speaker_book_number`."""
    lines = table.lines(listing, "\t", inside)
    checked = _mark_broken(
        [(table.check_count(line, 2), line.cells[0]) for line in lines], [len(x.cells) > 1 for x in lines]
    )
    for line in checked:
        row = recordings.add_id(table.row(line, {"id": 0, "text": 1}), "")
        speaker, book = (*row.id.split("_"), "", "")[:2]
        path = audio.of_stem(f"{inside}audio/{speaker}/{book}/{row.id}")
        yield replace(row, audio=path, speaker=speaker)


def _mark_broken(lines: Sequence[tuple[Line, str]], is_whole: Sequence[bool]) -> Iterator[Line]:
    """A line that names no recording and looks unlike the others may go on with the text before it."""
    ids = table.Ids(name for (_, name), whole in zip(lines, is_whole, strict=True) if whole)
    starts = [whole or ids.fits(name) for (_, name), whole in zip(lines, is_whole, strict=True)]
    return table.mark_halves([line for line, _ in lines], [not whole for whole in is_whole], starts)


def _listings(folder: Path) -> Iterator[Path]:
    """In order; links to folders are not followed."""
    for at, inside, here in os.walk(folder):
        place = Path(at)
        deep = len(place.relative_to(folder).parts)
        inside[:] = sorted(name for name in inside if not sources.is_junk(name)) if deep < _DEPTH else []
        for name in sorted(here):
            of_part = name == PART and (place / "audio").is_dir()
            is_chapter = name.endswith(CHAPTER) and not sources.is_junk(name)
            if (is_chapter or of_part) and sources.is_file(place / name):
                yield place / name


def _genders(folder: Path, place: Path, known: dict[Path, dict[str, str]]) -> dict[str, str]:
    """Speaker -> f or m, by the nearest table cut by `|` from `place` up to the corpus folder."""
    if place not in known:
        path = next((place / name for name in SPEAKERS if sources.is_file(place / name)), None)
        found = {}
        for line in table.lines(path, "|", place.relative_to(folder).as_posix() + "/") if path else ():
            if len(line.cells) > 1 and not line.cells[0].startswith(";"):
                found[line.cells[0].strip()] = line.cells[1].strip().lower()
        is_top = place == folder
        known[place] = found if found or is_top else _genders(folder, place.parent, known)
    return known[place]
