"""OpenSLR's crowd-sourced corpora: line_index.tsv with `file id TAB text` (SLR61 and its kin), no header.

SLR83 has line_index.csv with `line id, file id, text`, where the text may hold commas. A file id such as
`arf_00295_00012345678` begins with the speaker, and the speaker with country and gender.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import recordings, sources, table
from sotaque.data.layouts.recordings import without_suffix
from sotaque.data.layouts.row import Row
from sotaque.data.layouts.table import Line

LOOKS_FOR = (
    "line_index.tsv (or line_index_*.tsv) with lines `file id TAB text`, or line_index.csv with lines "
    "`line id, file id, text`, here or one folder below"
)
_SPEAKER = re.compile(r"([a-z]+([fm])_\d+)_\d+")


def matches(folder: Path) -> bool:
    return bool(_indexes(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio: dict[str, str] = {}  # the archives are unpacked in one place or in several
    for path in recordings.of(folder).paths:
        audio.setdefault(without_suffix(path.rpartition("/")[2]), path)
    for path in _indexes(folder):
        inside = "" if path.parent == folder else f"{path.parent.name}/"
        for row in _listed(path, inside, audio):
            stem = without_suffix(row.id)
            named = _SPEAKER.fullmatch(stem)
            yield replace(
                row,
                id=stem,
                audio=audio.get(stem, f"{inside}{stem}.wav"),
                speaker=named[1] if named else "",
                gender=named[2] if named else "",
            )


def _listed(path: Path, inside: str, audio: dict[str, str]) -> Iterator[Row]:
    is_tsv = path.suffix == ".tsv"
    found = table.lines(path, "\t" if is_tsv else table.WHOLE, inside)
    lines = found if is_tsv else [replace(line, cells=_cut_commas(line.cells[0])) for line in found]
    count, places = (2, {"id": 0, "text": 1}) if is_tsv else (3, {"id": 1, "text": 2})
    for line in _mark_broken(lines, count, audio):
        yield recordings.add_id(table.row(line, places), "")


def _cut_commas(text: str) -> tuple[str, ...]:
    cells = tuple(cell.strip() for cell in text.split(",", 2))
    if cells[-1].startswith('"'):
        cells = (*cells[:-1], cells[-1].removeprefix('"').removesuffix('"').replace('""', '"'))
    return cells


def _mark_broken(lines: list[Line], count: int, audio: dict[str, str]) -> Iterator[Line]:
    is_short = [len(line.cells) < count for line in lines]
    ids = table.Ids(line.cells[0] for line, short in zip(lines, is_short, strict=True) if not short)
    starts = [ids.fits(line.cells[0]) or without_suffix(line.cells[0].strip()) in audio for line in lines]
    return table.mark_halves([table.check_count(line, count) for line in lines], is_short, starts)


def _indexes(folder: Path) -> list[Path]:
    forms = (f"{inside}line_index*{suffix}" for inside in ("", "*/") for suffix in (".tsv", ".csv"))
    return sorted(path for form in forms for path in folder.glob(form) if sources.is_file(path))
