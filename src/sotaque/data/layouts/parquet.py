"""Parquet files with the audio inside, as Hugging Face's datasets writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque import files
from sotaque.data.layouts import parquet_file, parts, record, recordings, sources
from sotaque.data.layouts.parquet_file import Contents
from sotaque.data.layouts.reading import current
from sotaque.data.layouts.row import Row
from sotaque.errors import InputError

LOOKS_FOR = "*.parquet, here or one folder below, with a column of audio bytes and one of text"


def matches(folder: Path) -> bool:
    return bool(_tables(folder))


def unpack(folder: Path, into: Path) -> Iterator[Row]:
    """One row per row; its bytes are written, as they are, to into/<file>/<number> while it is read.

    A clip is named by its id; else by the file that it once was; where that name stands twice, by its number.
    Raises InputError for a file that is not whole, or leads out of the corpus folder.
    """
    tables = _tables(folder)
    named = [path for path, contents in tables.items() if contents.names]
    count = Counter(name for path in named for name in parquet_file.names(path, tables[path].audio))
    for path, contents in tables.items():
        inside = path.relative_to(folder).as_posix()
        part = parts.part_of(path.stem) or parts.part_of(path.parent.name)
        record.note(inside, contents.rows, contents.columns, contents.audio)
        current().opened.add(str(path))
        for number, (values, sound, audio) in enumerate(parquet_file.clips(path, contents), start=1):
            name = Path(audio).name
            called = name if name and count[name] == 1 else f"{path.stem}-{number:07d}"
            row = record.row({**values, "audio": called}, f"{inside}, row {number}")
            row = recordings.named(replace(row, part=row.part or part), row.audio)
            if sound is None:
                yield replace(row, audio=recordings.of(folder).find(audio) or audio)
                continue
            suffix = name[len(recordings.without_suffix(name)) :].lower()
            target = into / inside.removesuffix(".parquet") / f"{number:07d}{suffix}"
            files.write_bytes(target, sound, wait=False)
            yield replace(row, audio=target.as_posix(), unpacked=target)
    if into.is_dir():
        files.settle(into)


def _tables(folder: Path) -> dict[Path, Contents]:
    """Every file that holds audio and text."""
    paths = sorted(
        path
        for form in ("", "*/")
        for path in folder.glob(f"{form}*.parquet")
        if sources.is_file(path) and not sources.is_junk(path.name)
    )
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: links out of the corpus folder; put the file itself there")
    found = {path: parquet_file.look(path) for path in paths}
    return {path: contents for path, contents in found.items() if contents.audio}
