"""OpenSLR's crowd-sourced corpora (SLR61 and its kin): line_index.tsv with `file id TAB text`, no header.

An id such as `arf_00295_00012345678` begins with the speaker, and the speaker with country and gender.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row

LOOKS_FOR = "line_index.tsv (or line_index_*.tsv), here or one folder below, with lines `file id TAB text`"
_SPEAKER = re.compile(r"([a-z]+([fm])_\d+)_\d+")


def matches(folder: Path) -> bool:
    return bool(_indexes(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio = _audio(folder)
    for path in _indexes(folder):
        inside = "" if path.parent == folder else f"{path.parent.name}/"
        for line in table.lines(path, "\t", inside):
            row = table.row(line, {"id": 0, "text": 1}, range(2, 3))
            stem = table.without_suffix(row.id)
            named = _SPEAKER.fullmatch(stem)
            yield replace(
                row,
                id=stem,
                audio=audio.get(stem, f"{inside}{stem}.wav"),
                speaker=named[1] if named else "",
                gender=named[2] if named else "",
            )


def _indexes(folder: Path) -> list[Path]:
    return sorted(p for form in ("", "*/") for p in folder.glob(f"{form}line_index*.tsv") if p.is_file())


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
