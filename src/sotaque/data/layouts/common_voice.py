"""Mozilla Common Voice: train.tsv, dev.tsv, test.tsv and validated.tsv, never quoted, beside clips/.

validated.tsv lists the clips of the other three again, and more, which belong to no part. What listeners
turned down (invalidated.tsv) or nobody heard (other.tsv) is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import recordings, sources, table
from sotaque.data.layouts.row import Row
from sotaque.errors import InputError

LOOKS_FOR = "train.tsv, dev.tsv, test.tsv or validated.tsv with client_id, path and sentence, and clips/"
LISTINGS = {"train.tsv": "train", "dev.tsv": "val", "test.tsv": "test", "validated.tsv": ""}
COLUMNS = {"client_id", "path", "sentence"}


def matches(folder: Path) -> bool:
    return any(_header(folder / name) >= COLUMNS for name in LISTINGS)


def rows(folder: Path) -> Iterator[Row]:
    """Raises InputError naming the listing that lacks a column."""
    audio = recordings.of(folder)
    taken: dict[str, Row] = {}
    unnamed: list[Row] = []
    for name, part in LISTINGS.items():
        path = folder / name
        if not sources.is_file(path):
            continue
        missing = COLUMNS - _header(path)
        if missing:
            raise InputError(f"{path}: its first line lacks {', '.join(sorted(missing))}, cut by tabs")
        for row in table.read(path, audio, "\t", quoted=False):
            if part or row.audio not in taken:
                unnamed.append(replace(row, part=part))
            taken.setdefault(row.audio, row)
    yield from recordings.resolve(unnamed, audio, "clips/")


def _header(path: Path) -> set[str]:
    return {cell.strip() for cell in sources.first_line(path).split("\t")}
