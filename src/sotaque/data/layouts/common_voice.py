"""Mozilla Common Voice: train.tsv, dev.tsv, test.tsv and validated.tsv, never quoted, beside clips/.

validated.tsv lists the clips of the other three again, and more, which belong to no part. What listeners
turned down (invalidated.tsv) or nobody heard (other.tsv) is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row
from sotaque.errors import InputError

LOOKS_FOR = "train.tsv, dev.tsv, test.tsv or validated.tsv with client_id, path and sentence, and clips/"
LISTINGS = {"train.tsv": "train", "dev.tsv": "val", "test.tsv": "test", "validated.tsv": ""}
COLUMNS = {"client_id", "path", "sentence"}


def matches(folder: Path) -> bool:
    paths = (folder / name for name in LISTINGS)
    return any(_header(path) >= COLUMNS for path in paths if path.is_file())


def rows(folder: Path) -> Iterator[Row]:
    """Raises InputError naming the listing that lacks a column."""
    seen: set[str] = set()
    for name, part in LISTINGS.items():
        path = folder / name
        if not path.is_file():
            continue
        missing = COLUMNS - _header(path)
        if missing:
            raise InputError(f"{path}: its first line lacks {', '.join(sorted(missing))}, cut by tabs")
        header, *body = table.lines(path, "\t")
        places, count = table.columns(header.cells), len(header.cells)
        for line in body:
            row = table.row(line, places, range(count, count + 1))
            if part or row.audio not in seen:
                yield replace(row, part=part, audio=_clip(folder, row.audio))
            seen.add(row.audio)


def _header(path: Path) -> set[str]:
    return {cell.strip() for cell in table.first_line(path).split("\t")}


def _clip(folder: Path, name: str) -> str:
    """Early releases write no suffix."""
    if not name or table.without_suffix(name) != name:
        return name and f"clips/{name}"
    return table.with_suffix(folder, f"clips/{name}")
