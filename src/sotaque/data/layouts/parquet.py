"""Parquet files with the audio inside, as Hugging Face's datasets writes them.

Row groups are read one after another: a corpus of any size needs the memory of one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.data.layouts import parts, record, table
from sotaque.data.layouts.row import Row
from sotaque.errors import InputError

LOOKS_FOR = "*.parquet, here or one folder below, with a column of audio bytes and one of text"
_KNOWN = {name for names in table.NAMES.values() for name in names}
_ROWS_AT_ONCE = 8


def matches(folder: Path) -> bool:
    return bool(_tables(folder))


def unpack(folder: Path, into: Path) -> Iterator[Row]:
    """One row per row; its bytes are written, as they are, to into/<file>/<number> while it is read.

    A clip is named by its id; else by the file that it once was; where that name stands twice, by its number.
    Raises InputError for a file that is not whole, or leads out of the corpus folder.
    """
    tables = _tables(folder)
    count = Counter(name for path, column in tables.items() for name in _names(path, column))
    for path, column in tables.items():
        inside = path.relative_to(folder).as_posix()
        part = parts.part_of(path.stem) or parts.part_of(path.parent.name)
        for number, values in enumerate(_rows(path, column), start=1):
            sound, audio = _sound(values.pop(column))
            name = Path(audio).name
            called = name if name and count[name] == 1 else f"{path.stem}-{number:07d}"
            row = record.row({**values, "audio": called}, f"{inside}, row {number}")
            row = replace(row, part=row.part or part)
            if sound is None:
                yield replace(row, audio=table.located(folder, audio))
                continue
            suffix = name[len(table.without_suffix(name)) :].lower()
            target = into / inside.removesuffix(".parquet") / f"{number:07d}{suffix}"
            with files.atomic(target) as temporary:
                temporary.write_bytes(sound)
            yield replace(row, audio=target.as_posix(), unpacked=target)


def _tables(folder: Path) -> dict[Path, str]:
    """Every file that holds audio and text, and the name of its column of audio."""
    paths = sorted(p for form in ("", "*/") for p in folder.glob(f"{form}*.parquet") if p.is_file())
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: links out of the corpus folder; put the file itself there")
    return {path: column for path in paths if (column := _audio_column(path))}


def _audio_column(path: Path) -> str:
    """The first column of bytes, or of {bytes, path}; "" where there is none, or no text."""
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    with _opened(path) as table_file:
        schema = table_file.schema_arrow
    found = [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (
            pyarrow.types.is_struct(field.type)
            and any(f.name == "bytes" and holds_bytes(f.type) for f in field.type)
        )
    ]
    named = table.columns((*schema.names, "audio"))
    return found[0] if found and named else ""


def _names(path: Path, column: str) -> Iterator[str]:
    """The names of the files that the clips once were; the bytes are not read for it."""
    with _opened(path) as table_file:
        if f"{column}.path" not in {table_file.schema.column(i).path for i in range(len(table_file.schema))}:
            return
        for batch in table_file.iter_batches(columns=[f"{column}.path"], use_threads=False):
            yield from (
                Path(value["path"]).name for value in batch.column(0).to_pylist() if value and value["path"]
            )


def _rows(path: Path, column: str) -> Iterator[dict[str, Any]]:
    with _opened(path) as table_file:
        wanted = [name for name in table_file.schema_arrow.names if name == column or name.lower() in _KNOWN]
        for batch in table_file.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
            yield from batch.to_pylist()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, pre_buffer=False) as table_file:
            yield table_file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet ({str(error)[:200]}); bring the file here again"
        ) from None


def _sound(value: Any) -> tuple[bytes | None, str]:
    """The bytes, None when they lie in a file, and the path of that file."""
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path") or ""
    return value, ""
