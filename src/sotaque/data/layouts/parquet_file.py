"""One Parquet file, read in the sandbox: a hang, a bomb or a crash in it is an InputError that names it.

The rows come a few at a time, pages are read as they are needed: a file of any size needs little memory.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sotaque import sandbox
from sotaque.data.layouts import columns
from sotaque.errors import ClipError, InputError

LIMITS = sandbox.Limits(max_s=60.0, max_mb=800)
_ROWS_AT_ONCE = 8
_BUFFER_BYTES = 2**20
# What one file may unpack to. Audio hardly shrinks in Parquet: WAV to a half, silence to a tenth.
MAX_RATIO = 20
ALWAYS_ALLOWED_BYTES = 2**26


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    rows: how many. audio: the column of sounds, "" where there is none, or no text. names: whether the sounds
    have the names of files. columns: the names of all.
    """

    rows: int
    audio: str
    names: bool
    columns: tuple[str, ...] = ()


# One row: its fields, the bytes of its sound (None when they lie in a file), and the path of that file.
Clip = tuple[dict[str, Any], bytes | None, str]


def look(path: Path) -> Contents:
    """What a file holds, by its footer; raises InputError when it is not whole."""
    import pyarrow.parquet  # noqa: F401  (here, so that no worker need load it)

    [(found, _)] = _asked(_contents, [path], path)
    return Contents(**found)


def names(path: Path, audio: str) -> list[str]:
    """The names of the files that the sounds once were; the sounds are not read for it."""
    [(found, _)] = _asked(lambda path: _names(path, audio), [path], path)
    return found["names"]


def clips(path: Path, contents: Contents) -> Iterator[Clip]:
    """All rows in their order.

    Raises InputError when the file is not whole, or unpacks to far more bytes than it has.
    """
    rows = _rows(path, contents.audio)  # runs in the worker, which goes on where it was
    size = path.stat().st_size
    room = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * size)

    def some(first: int) -> sandbox.Answer:
        nonlocal room
        found = []
        for row in itertools.islice(rows, _ROWS_AT_ONCE):
            found.append(row)
            room -= _bytes_of(row)
            if room < 0:
                allowed = f"{MAX_RATIO} times its {size} bytes, or {ALWAYS_ALLOWED_BYTES} bytes"
                raise ClipError("too-large", f"its first {first + len(found)} rows unpack to over {allowed}")
        if len(found) < min(_ROWS_AT_ONCE, contents.rows - first):
            raise ClipError("truncated", f"{contents.rows} rows are claimed, {first + len(found)} are there")
        sounds = [sound for _, sound, _ in found]
        head = [(values, None if sound is None else len(sound), name) for values, sound, name in found]
        return {"rows": head}, b"".join(sound or b"" for sound in sounds)

    for head, content in _asked(some, range(0, contents.rows, _ROWS_AT_ONCE), path):
        start = 0
        for values, size, name in head["rows"]:
            yield values, None if size is None else content[start : start + size], name
            start += size or 0


def _asked(work: Callable[..., sandbox.Answer], items: Sequence[Any], path: Path) -> Iterator[sandbox.Answer]:
    with contextlib.closing(sandbox.each(work, items, LIMITS)) as answers:
        for answer in answers:
            if isinstance(answer, ClipError):
                reason = f"cannot be read as Parquet ({answer.reason[:200]})"
                raise InputError(f"{path}: {reason}; bring the file here again, or take it away")
            yield answer


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as opened:
            yield opened
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, OSError) as error:
        raise ClipError("unreadable", str(error)) from None


def _contents(path: Path) -> sandbox.Answer:
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    with _opened(path) as opened:
        schema, footer = opened.schema_arrow, opened.metadata
        leaves = {opened.schema.column(i).path for i in range(len(opened.schema))}
        rows = sum(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
    if rows != footer.num_rows or not 0 <= rows <= path.stat().st_size:
        claimed = f"{footer.num_rows} rows are claimed, {rows} in its groups, in {path.stat().st_size} bytes"
        raise ClipError("unreadable", claimed)
    found = [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (
            pyarrow.types.is_struct(field.type)
            and any(f.name == "bytes" and holds_bytes(f.type) for f in field.type)
        )
    ]
    named = columns.of_header((*schema.names, "audio"))
    audio = found[0] if found and named else ""
    return asdict(Contents(rows, audio, f"{audio}.path" in leaves, tuple(schema.names))), b""


def _names(path: Path, audio: str) -> sandbox.Answer:
    with _opened(path) as opened:
        batches = opened.iter_batches(columns=[f"{audio}.path"], use_threads=False)
        values = itertools.chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
        return {"names": [Path(value["path"]).name for value in values if value and value["path"]]}, b""


def _rows(path: Path, audio: str) -> Iterator[Clip]:
    with _opened(path) as opened:
        names = opened.schema_arrow.names
        known = columns.fields_of(names).values()
        wanted = [name for at, name in enumerate(names) if name == audio or at in known]
        for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
            for values in batch.to_pylist():
                sound = values.pop(audio)
                sound, name = (
                    (sound.get("bytes"), sound.get("path")) if isinstance(sound, dict) else (sound, "")
                )
                yield {key: _plain(value) for key, value in values.items()}, sound, name or ""


def _bytes_of(row: Clip) -> int:
    values, sound, name = row
    return len(sound or b"") + len(name) + sum(len(v) for v in values.values() if isinstance(v, str))


def _plain(value: Any) -> Any:
    """As JSON can hold it; a list or a mapping is no word anyway, and loses what it holds."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | dict):
        return type(value)()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
