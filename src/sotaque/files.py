"""Atomic writes and checksums: nothing half-written ever has a final name.

What is being written is called `.<name>.<random>.part` beside its place; a killed process leaves it there.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sotaque.errors import ClipError

if TYPE_CHECKING:
    import numpy as np
    import torch

MAX_LINE_CHARACTERS = 2**22
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FICLONE = 0x40049409  # linux/fs.h
COPY_BYTES = 16 * 2**20


@contextlib.contextmanager
def atomic(path: Path, wait: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    wait: until the disk has it, some milliseconds; for many files, `settle` waits for all at once.
    An OSError out of the block, a full disk say, names `path`.
    """
    with _placed(path) as (handle, name):
        os.close(handle)
        yield Path(name)
        if wait:
            with open(name, "rb") as written:
                os.fsync(written.fileno())


def write_bytes(path: Path, content: bytes | memoryview, wait: bool = True) -> None:
    """As `atomic`, in fewer steps: of some files there are a hundred thousand."""
    with _placed(path) as (handle, _), open(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        if wait:
            os.fsync(handle)


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[tuple[int, str]]:
    """A new file beside `path`, its handle and name, which becomes `path` when the block ends well."""
    name = f"{path.parent}/.{path.name}.{os.urandom(4).hex()}.part"
    try:
        handle = _created(name)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _created(name)
    try:
        os.fchmod(handle, 0o644)
        yield handle, name
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def _created(name: str) -> int:
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def remove(path: Path) -> None:
    """Remove a file or folder, and what a killed process left of it half-written."""
    for found in (path, *path.parent.glob(f".{glob.escape(path.name)}.*.part")):
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; put it in `folder`'s place when the block ends well.

    All may read the files that were made in it, whatever mode a library gave them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        for path in temporary.rglob("*"):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                path.chmod(0o755)
            elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                path.chmod(0o644)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def settle(folder: Path) -> None:
    """Wait until the disk has all that was written to the file system of `folder`.

    Raises OSError when it cannot take it. Only Linux says so (syncfs); others are waited for without a word.
    """
    if sys.platform != "linux":
        os.sync()
        return
    library = ctypes.CDLL(None, use_errno=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if library.syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy. To a file, np.save writes through C and does not notice that the disk is full."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file; raises OSError where the library has an error of its own for a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def save_torch(value: Any, path: Path) -> None:
    """torch.save; raises OSError where torch speaks of an unexpected position when the disk is full."""
    import torch

    with path.open("wb", buffering=0) as stream:
        recorder = _ErrorRecorder(stream)
        try:
            torch.save(value, recorder)
        except Exception as error:
            found = recorder.error or error
            if isinstance(found, OSError):
                found.filename = str(path)
            raise found from None


class _ErrorRecorder:
    """A stream that is written whole, and remembers its first error."""

    def __init__(self, stream: io.FileIO):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        rest = memoryview(content).cast("B")
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        return len(content)

    def flush(self) -> None:
        self._stream.flush()


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file; raises ValueError when it is not JSON, not UTF-8 or nested too deep."""
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str | bytes) -> Any:
    """As json.loads, with ValueError for nesting that is too deep for it as well."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file that somebody else has put there; a FIFO, a folder or a device is never waited for.

    Raises ClipError: missing, unreadable.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        code = "unreadable" if isinstance(error, PermissionError) else "missing"
        raise ClipError(code, f"{escape(path)}: cannot be opened: {reason}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ClipError("missing", f"{escape(path)}: not a regular file")
    with open(handle, "rb") as stream:
        try:
            yield stream
        except OSError as error:
            raise ClipError("unreadable", f"{escape(path)}: {error.strerror or error}") from None


def read_untrusted(path: Path, max_bytes: int) -> bytes:
    """All bytes of a small file that somebody else has put there.

    Raises ClipError: missing, unreadable, text-too-long.
    """
    with open_regular(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ClipError("text-too-long", f"{escape(path)}: more than {max_bytes} bytes of text")
    return content


def iterate_lines(
    path: Path, encoding: str = "utf-8", max_characters: int = MAX_LINE_CHARACTERS
) -> Iterator[tuple[int, str, bool]]:
    """The lines of a text file: number from 1, text without its end, and whether that was cut.

    Lines end with LF or CRLF; with a lone CR only where there is no LF at all. A byte order mark overrules
    `encoding`. Bytes that cannot be decoded become lone surrogates, in UTF-16 U+FFFD. Memory stays flat: of a
    line longer than `max_characters`, the first so many are given.

    Raises ClipError: missing, unreadable.
    """
    with open_regular(path) as stream:
        mark = next((mark for mark in BYTE_ORDER_MARKS if stream.peek(4).startswith(mark)), b"")
        errors = "replace" if BYTE_ORDER_MARKS.get(mark) == "utf-16" else "surrogateescape"
        text = io.TextIOWrapper(stream, BYTE_ORDER_MARKS.get(mark, encoding), errors, newline="\n")
        ends_with_lf = any("\n" in block for block in iter(lambda: text.read(2**16), ""))
        end = "\n" if ends_with_lf else "\r"
        text.seek(0)
        text = io.TextIOWrapper(text.detach(), BYTE_ORDER_MARKS.get(mark, encoding), errors, newline=end)
        number = 0
        while line := text.readline(max_characters + 2):
            number += 1
            whole = line.removesuffix(end)
            whole = whole.removesuffix("\r") if ends_with_lf else whole
            yield number, whole[:max_characters], len(whole) > max_characters
            while line and not line.endswith(end):
                line = text.readline(max_characters)


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8: a lone surrogate stands for a byte that was not."""
    return text == text.encode("utf-8", "replace").decode("utf-8")


def escape(text: str | Path) -> str:
    """A text or path that can be written anywhere; bytes that are not UTF-8 are shown as escapes."""
    return os.fspath(text).encode("utf-8", "backslashreplace").decode()


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file that only spares work; empty when it is missing, damaged or unreadable."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Write what `read_record` reads, also in place of a folder. A full disk is no reason to stop."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            remove(path)
        write_json(path, value)


def copy(source: Path, target: Path) -> None:
    """The same bytes in a file of its own; they share the disk's blocks where the file system can (FICLONE).

    Writing into one of the two never changes the other.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            shutil.copyfileobj(reader, writer, COPY_BYTES)


def link_read_only(source: Path, target: Path) -> None:
    """The same file under another name, which nobody may write to; a copy on another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    original = source.resolve()
    try:
        os.link(original, target)
        target.chmod(0o444)
    except OSError:
        target.unlink(missing_ok=True)
        copy(original, target)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(value: Any) -> str:
    """The checksum of a plain value, by its canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def walk(folder: Path) -> list[Path]:
    """All regular files under `folder`, sorted by their relative POSIX path."""
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return [Path(name) for name in sorted(found) if os.path.isfile(name)]
