"""OpenSLR's crowd-sourced corpora: line_index.tsv with `file id TAB text` (SLR61 and its kin), no header.

SLR83 has line_index.csv with `line id, file id, text`, where the text may hold commas. A file id such as
`arf_00295_00012345678` begins with the speaker, and the speaker with country and gender.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row

LOOKS_FOR = (
    "line_index.tsv (or line_index_*.tsv) with lines `file id TAB text`, or line_index.csv with lines "
    "`line id, file id, text`, here or one folder below"
)
_SPEAKER = re.compile(r"([a-z]+([fm])_\d+)_\d+")


def matches(folder: Path) -> bool:
    return bool(_indexes(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio = _audio(folder)
    for path in _indexes(folder):
        inside = "" if path.parent == folder else f"{path.parent.name}/"
        for row in _listed(path, inside):
            stem = table.without_suffix(row.id)
            named = _SPEAKER.fullmatch(stem)
            yield replace(
                row,
                id=stem,
                audio=audio.get(stem, f"{inside}{stem}.wav"),
                speaker=named[1] if named else "",
                gender=named[2] if named else "",
            )


def _listed(path: Path, inside: str) -> Iterator[Row]:
    if path.suffix == ".tsv":
        for line in table.lines(path, "\t", inside):
            yield table.row(line, {"id": 0, "text": 1}, range(2, 3))
        return
    for line in table.lines(path, table.WHOLE, inside):
        cells = tuple(cell.strip() for cell in line.cells[0].split(",", 2))
        if cells[-1].startswith('"'):
            cells = (*cells[:-1], cells[-1].removeprefix('"').removesuffix('"').replace('""', '"'))
        yield table.row(replace(line, cells=cells), {"id": 1, "text": 2}, range(3, 4))


def _indexes(folder: Path) -> list[Path]:
    forms = (f"{inside}line_index*{suffix}" for inside in ("", "*/") for suffix in (".tsv", ".csv"))
    return sorted(path for form in forms for path in folder.glob(form) if path.is_file())


def _audio(folder: Path) -> dict[str, str]:
    """Stem -> path below the corpus: the archives are unpacked in one place or in several."""
    found = {}
    for at, _, here in os.walk(folder):
        for name in here:
            if table.without_suffix(name) != name:
                path = Path(at, name).relative_to(folder).as_posix()
                stem = table.without_suffix(name)
                found[stem] = min(path, found.get(stem, path))
    return found
