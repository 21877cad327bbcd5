"""Two columns `audio|text` in a .csv, .tsv, .psv or .txt, cut by `|`, tab, `;` or `,`.

A header may name more columns; without one there are two. Several listings may lie side by side;
one called train, val or test says which part its clips are of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import parts, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = (
    "a .csv, .tsv, .psv or .txt with lines `path/to/clip.wav|text` (or tab, `;`, `,`), perhaps with a header"
)
SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
DELIMITERS = "|\t;,"
_SUFFIXES = "|".join(re.escape(suffix) for suffix in table.AUDIO_SUFFIXES)
_BEGINS_WITH_FILE = re.compile(rf'\s*"?[^|\t;,"]+(?:{_SUFFIXES})"?\s*([|\t;,])', re.IGNORECASE)


def matches(folder: Path) -> bool:
    return bool(_listings(folder))


def rows(folder: Path) -> Iterator[Row]:
    for path, delimiter in _listings(folder).items():
        part = parts.part_of(path.stem)
        for row in _rows(path, delimiter):
            yield replace(row, part=row.part or part, audio=table.located(folder, row.audio))


def _listings(folder: Path) -> dict[Path, str]:
    """Listing -> delimiter, for every file at the top of the folder that has the form."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    found = {path: _delimiter(table.first_line(path)) for path in files}
    return {path: delimiter for path, delimiter in found.items() if delimiter}


def _delimiter(line: str) -> str:
    """What cuts the columns, by the first line; "" when this is no such listing."""
    for delimiter in DELIMITERS:
        if "audio" in table.columns(tuple(line.split(delimiter))):
            return delimiter
    match = _BEGINS_WITH_FILE.match(line)
    return match[1] if match else ""


def _rows(path: Path, delimiter: str) -> Iterator[Row]:
    lines = table.lines(path, delimiter)
    named = table.columns(lines[0].cells)
    count = len(lines[0].cells) if named else 2
    for line in lines[1:] if named else lines:
        yield table.row(line, named or {"audio": 0, "text": 1}, range(count, count + 1))
