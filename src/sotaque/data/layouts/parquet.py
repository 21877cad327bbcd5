"""Parquet files with the audio inside, as Hugging Face's datasets writes them."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
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
    Raises InputError for a file that is not whole, is a bomb, or leads out of the corpus folder; OSError
    (ENOSPC) when the disk has less room than the files take.
    """
    tables = _tables(folder)
    _check_room(tables, into)
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
            row = recordings.add_id(replace(row, part=row.part or part), row.audio)
            if sound is None:
                yield replace(row, audio=recordings.of(folder).find(audio) or audio)
                continue
            suffix = name[len(recordings.without_suffix(name)) :].lower()
            target = into / inside.removesuffix(".parquet") / f"{number:07d}{suffix}"
            files.write_bytes(target, sound, wait=False)
            yield replace(row, audio=target.as_posix(), unpacked=target)
    if into.is_dir():
        files.settle(into)


def _check_room(paths: Iterable[Path], into: Path) -> None:
    """Audio hardly shrinks in Parquet: what the files take, the clips take too."""
    there = next(path for path in (into, *into.absolute().parents) if path.is_dir())
    needed, free = sum(path.stat().st_size for path in paths), shutil.disk_usage(there).free
    if needed > free:
        reason = f"No space left on device: {needed} bytes to unpack, {free} free"
        raise OSError(errno.ENOSPC, reason, str(into))


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
