"""The files of a corpus, which may hold anything: which there are, and their bytes as text, within limits.

A FIFO, a folder, a loop of links, a link out of the corpus or a file of gigabytes in the place of a text is
an error that names it. What macOS and Windows leave in folders is passed over.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from sotaque import files
from sotaque.data.layouts.reading import current
from sotaque.errors import ClipError, InputError

MAX_LISTING_BYTES = 2**30
MAX_TRANSCRIPT_BYTES = 2**20
_PEEK_BYTES = 2**16
_JUNK = {
    "__MACOSX", ".DS_Store", ".AppleDouble", ".Spotlight-V100", ".Trashes", ".fseventsd", "Thumbs.db",
    "ehthumbs.db", "desktop.ini", "@eaDir", ".directory", ".git", ".gitattributes", ".gitignore",
    ".ipynb_checkpoints",
}  # fmt: skip
_ACCOMPANYING = re.compile(
    r"(readme|licen[sc]e|copying|copyright|changelog|citation|notice|about|errata)\b.*|.*\.(md|pdf|rtf|html?|docx?)",
    re.IGNORECASE,
)


def is_junk(name: str) -> bool:
    """Whether an operating system or a tool left it there: `._a.wav`, `.DS_Store`, `Thumbs.db`..."""
    return name.startswith("._") or name in _JUNK


def is_accompanying(name: str) -> bool:
    """Whether a file is for people, such as README or LICENSE.txt."""
    return _ACCOMPANYING.fullmatch(name) is not None


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, without junk, sorted."""
    return sorted((path for path in folder.iterdir() if not is_junk(path.name)), key=lambda path: path.name)


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; links are not followed."""
    return [path for path in entries(folder) if path.is_dir() and not path.is_symlink()]


def walk(folder: Path) -> list[tuple[str, bool]]:
    """(path relative to the folder, whether it is a link to a folder) of all files below it, sorted."""
    found = []
    for at, inside, here in os.walk(folder):
        inside[:] = [name for name in inside if not is_junk(name)]
        lead = os.path.relpath(at, folder)
        lead = "" if lead == "." else f"{lead}/"
        found += [(lead + name, False) for name in here if not is_junk(name)]
        found += [(lead + name, True) for name in inside if os.path.islink(os.path.join(at, name))]
    return sorted(found)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def not_encoded() -> str:
    return f"not {current().encoding.upper()}"


def decode(raw: bytes, name: str) -> str:
    """By the byte order mark, UTF-8 or UTF-16, else as params.yaml says; wrong bytes become lone surrogates.

    Raises InputError when a UTF-16 file is cut in the middle of a character.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: begins as UTF-16, but {error}; save it as UTF-8") from None
    if raw.startswith(codecs.BOM_UTF8):
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return raw.decode(current().encoding, "surrogateescape")


def read_transcript(folder: Path, name: str) -> str:
    """The text of a file that holds one transcript.

    Raises ClipError: outside-root, no-transcript, text-too-long, encoding.
    """
    path = folder / name
    current().opened.add(str(path))
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise ClipError("no-transcript", f"{name} leads nowhere: {_reason(error)}") from None
    if not inside:
        raise ClipError("outside-root", f"{name} links out of the corpus")
    try:
        raw = files.read_untrusted(path, MAX_TRANSCRIPT_BYTES)
    except ClipError as error:
        code = error.code if error.code == "text-too-long" else "no-transcript"
        raise ClipError(code, error.reason.replace(str(path), name, 1)) from None
    try:
        text = decode(raw, name)
    except InputError as error:
        raise ClipError("encoding", str(error)) from None
    if not files.is_utf8(text):
        raise ClipError("encoding", f"{name}: {not_encoded()}")
    return text


def read_listing(path: Path, inside: str = "") -> str:
    """The text of a listing; a name that ends in .gz is decompressed. inside: what leads to it, as "train/".

    Raises InputError for one that links out of the corpus, cannot be read or has over MAX_LISTING_BYTES.
    """
    _check_listing(path, inside)
    try:
        with files.open_regular(path) as stream:
            source = gzip.GzipFile(fileobj=stream) if path.suffix == ".gz" else stream
            raw = source.read(MAX_LISTING_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {_reason(error)}; bring the file here again") from None
    _check_size(path, len(raw))
    return decode(raw, str(path))


def _check_listing(path: Path, inside: str) -> None:
    """Note that a listing is read; raise InputError unless it is a file in the corpus, and not too large."""
    root = path.parents[len(Path(inside).parts)]
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{path}: links out of the corpus folder; put the file itself there")
        with files.open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read: {_reason(error)}; bring the file here again") from None
    except ClipError as error:
        raise InputError(error.advice) from None
    _check_size(path, size)
    current().opened.add(str(path))


def _check_size(path: Path, size: int) -> None:
    if size > MAX_LISTING_BYTES:
        raise InputError(f"{path}: a listing of over {MAX_LISTING_BYTES} bytes; cut it into several")


def _is_utf_16(path: Path) -> bool:
    with contextlib.suppress(ClipError), files.open_regular(path) as stream:
        return stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return False


def numbered_lines(path: Path, inside: str = "") -> Iterator[tuple[int, str]]:
    """The lines of a listing that are not blank, numbered from 1; one that is too long ends at the limit.

    Raises InputError as `read_listing`.
    """
    if path.suffix == ".gz" or _is_utf_16(path):
        lines = ((number, text) for number, text in enumerate(split(read_listing(path, inside)), start=1))
    else:
        _check_listing(path, inside)
        lines = ((number, text) for number, text, _ in files.iterate_lines(path, current().encoding))
    yield from ((number, text[: files.MAX_LINE_CHARACTERS]) for number, text in lines if text.strip())


def first_lines(path: Path, most: int = 1) -> list[str]:
    """The first lines that are not blank, for looking at a folder; empty when it cannot be read."""
    if path.suffix == ".gz":
        raw = b""
        with (
            contextlib.suppress(ClipError, OSError, EOFError, zlib.error),
            files.open_regular(path) as stream,
        ):
            raw = gzip.GzipFile(fileobj=stream).read(_PEEK_BYTES)
        return [line for line in split(raw.decode("utf-8", "replace")) if line.strip()][:most]
    found: list[str] = []
    with contextlib.suppress(ClipError):
        lines = files.iterate_lines(path, current().encoding)
        found += itertools.islice((text for _, text, is_cut in lines if text.strip() and not is_cut), most)
    return found


def first_line(path: Path) -> str:
    """The first line that is not blank, or "" where there is none."""
    return next(iter(first_lines(path)), "")


def split(text: str) -> list[str]:
    """Lines ended by LF or CRLF; by a lone CR only where there is no LF at all."""
    return re.split("\r?\n" if "\n" in text else "\r", text)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
