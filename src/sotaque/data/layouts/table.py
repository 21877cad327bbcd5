"""Corpus listings as text tables: encodings, delimiters, quotes and column names.

One physical line is one row, whatever is in it, so that an unbalanced quote or a bad byte costs
its own line only and every line is either kept or rejected.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError, InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus")
AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "mp3", "flac", "recordings")
NAMES = {
    "id": ("id", "name", "utterance_id", "utt_id"),
    "audio": (
        "audio",
        "audio_path",
        "audio_file",
        "audio_filepath",
        "file",
        "file_name",
        "filename",
        "path",
        "wav",
        "wav_path",
        "arquivo",
        "archivo",
    ),
    "text": (
        "text",
        "transcript",
        "transcription",
        "sentence",
        "texto",
        "transcrição",
        "transcripción",
        "frase",
    ),
    "normalised": ("normalised", "normalized", "normalised_text", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "speaker_name", "client_id", "locutor", "falante", "hablante"),
    "language": ("language", "lang", "locale", "idioma"),
    "accent": ("accent", "accents", "sotaque", "acento"),
    "gender": ("gender", "sex"),
    "part": ("part", "split", "subset"),
    "group": ("group",),
}
WHOLE = "\n"
_UNQUOTED = ("|", "\t", WHOLE)
_PEEK_BYTES = 2**16
ENCODING = ContextVar("encoding", default="utf-8")  # of listings without a byte order mark


@dataclass(frozen=True)
class Line:
    """One line of a listing, cut into cells; fault: why it could not be."""

    where: str
    cells: tuple[str, ...]
    fault: ClipError | None = None


@contextlib.contextmanager
def encoded_as(encoding: str) -> Iterator[None]:
    """What is read inside has this encoding, where no byte order mark says otherwise."""
    token = ENCODING.set(encoding)
    try:
        yield
    finally:
        ENCODING.reset(token)


def decode(raw: bytes, name: str) -> str:
    """By the byte order mark, UTF-8 or UTF-16, else by ENCODING; wrong bytes become lone surrogates.

    Raises InputError when a UTF-16 file is cut in the middle of a character.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: begins as UTF-16, but {error}; save it as UTF-8") from None
    if raw.startswith(codecs.BOM_UTF8):
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return raw.decode(ENCODING.get(), "surrogateescape")


def readable(text: str) -> bool:
    """Whether every byte of it could be decoded."""
    return text == text.encode("utf-8", "replace").decode("utf-8")


def not_encoded() -> str:
    return f"not {ENCODING.get().upper()}"


def lines(path: Path, delimiter: str, inside: str = "") -> list[Line]:
    """All lines that are not blank. `|` and tab never quote; comma and semicolon do, as in RFC 4180.

    WHOLE as delimiter leaves each line in one cell. inside: "train/" where the listing lies there.
    """
    text = decode(path.read_bytes(), str(path))
    numbered = enumerate(_split(text), start=1)
    name = f"{inside}{path.name}"
    return [_line(f"{name}, line {n}", line, delimiter) for n, line in numbered if line.strip()]


def first_line(path: Path) -> str:
    """The first line that is not blank, or "" where there is none; for looking at a folder."""
    with path.open("rb") as stream:
        raw = stream.read(_PEEK_BYTES)
    marks = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}
    encoding = next((name for mark, name in marks.items() if raw.startswith(mark)), ENCODING.get())
    text = raw.decode(encoding, "replace")
    return next((line for line in _split(text) if line.strip()), "")


def _split(text: str) -> list[str]:
    """Lines ended by LF or CRLF; by a lone CR only where there is no LF at all."""
    return re.split("\r?\n" if "\n" in text else "\r", text)


def cut(line: str, delimiter: str) -> tuple[str, ...]:
    """The cells of a line; raises csv.Error for unbalanced quotes."""
    if delimiter in _UNQUOTED:
        return tuple(line.split(delimiter))
    return tuple(next(csv.reader([line], delimiter=delimiter, strict=True)))


@functools.lru_cache
def columns(header: tuple[str, ...]) -> dict[str, int]:
    """Field -> position by the names of a header; empty when this line is no header."""
    position = {name.strip().lower(): i for i, name in reversed(list(enumerate(header)))}
    found = {
        field: next(position[n] for n in names if n in position)
        for field, names in NAMES.items()
        if any(n in position for n in names)
    }
    named = ("id" in found or "audio" in found) and ("text" in found or "normalised" in found)
    return found if named else {}


def row(line: Line, places: dict[str, int], counts: range, inside: str = "") -> Row:
    """A line as a Row; `places` says where each field stands, `counts` how many cells a line may have.

    inside: what leads from the corpus folder to where audio paths begin, "train/" or nothing.
    """
    cell = {field: line.cells[i].strip() for field, i in places.items() if i < len(line.cells)}
    fault = line.fault
    if fault is None and len(line.cells) not in counts:
        allowed = " or ".join(map(str, counts))
        fault = ClipError("columns", f"{line.where}: {len(line.cells)} columns, expected {allowed}")
    text = cell.pop("normalised", "") or cell.get("text", "")
    audio = f"{inside}{cell['audio']}" if cell.get("audio") else ""
    identifier = cell.get("id") or id_of(audio) or line.where
    return Row(
        **{**cell, "where": line.where, "id": identifier, "audio": audio, "text": text, "fault": fault}
    )


def id_of(audio: str) -> str:
    """A clip's id by its path: no suffix, and no leading folder that only says that audio is in it."""
    stem = without_suffix(audio)
    head, _, rest = stem.partition("/")
    return rest if rest and head.lower() in AUDIO_FOLDERS else stem


def without_suffix(name: str) -> str:
    return next((name[: -len(s)] for s in AUDIO_SUFFIXES if name.lower().endswith(s)), name)


def with_suffix(folder: Path, stem: str) -> str:
    """The audio file of this stem that exists under `folder`, `<stem>.wav` when none does."""
    names = [stem + suffix for suffix in AUDIO_SUFFIXES]
    return next((name for name in names if _exists(folder / name)), names[0])


def located(folder: Path, audio: str) -> str:
    """A path as written, or inside wavs/, audio/ ... when only there a file has it.

    A full path into the corpus folder is made relative to it; `\\` may stand for `/`, as Windows writes it.
    """
    if audio.startswith("/"):
        for root in (folder.absolute(), folder.resolve()):
            audio = audio.removeprefix(f"{root}/")
    written = (audio, audio.replace("\\", "/"))
    names = [f"{inside}{name}" for inside in ("", *(f"{at}/" for at in AUDIO_FOLDERS)) for name in written]
    return next((name for name in names if audio and _exists(folder / name)), audio)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _line(where: str, line: str, delimiter: str) -> Line:
    if not readable(line):
        shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return Line(where, tuple(shown.split(delimiter)), ClipError("encoding", f"{where}: {not_encoded()}"))
    try:
        return Line(where, cut(line, delimiter))
    except csv.Error as error:
        return Line(where, tuple(line.split(delimiter)), ClipError("quotes", f"{where}: {error}"))
