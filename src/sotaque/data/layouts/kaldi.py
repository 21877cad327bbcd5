"""Kaldi's data folders: wav.scp, text, and utt2spk, utt2lang, segments, spk2gender where they are.

They lie at the top or in train/, dev/, test/. Paths count from the corpus folder or from the listing.
A command in wav.scp (`sph2pipe ... |`) is never run: its clips are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sotaque.data.layouts import parts, table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "wav.scp with `id path` and text with `id words`, here or in train/, dev/, test/"
TABLES = ("wav.scp", "text", "utt2spk", "utt2lang", "segments", "spk2gender")


@dataclass(frozen=True)
class Entry:
    """One line: what it is about, and what it says of it."""

    where: str
    name: str
    value: str
    fault: ClipError | None = None


def matches(folder: Path) -> bool:
    return bool(_folders(folder))


def rows(folder: Path) -> Iterator[Row]:
    """One row per clip; one more, with a fault, per line that belongs to none."""
    for inside, part in _folders(folder).items():
        tables = {name: list(_entries(folder, inside, name)) for name in TABLES}
        for entries in tables.values():
            yield from (Row(e.where, e.name, "", "", fault=e.fault) for e in entries if e.fault)
        yield from _clips(folder, inside, part, {k: _index(entries) for k, entries in tables.items()})


def _folders(folder: Path) -> dict[str, str]:
    needed = ("wav.scp", "text")
    found = parts.folders(folder).items()
    return {at: part for at, part in found if all((folder / at / name).is_file() for name in needed)}


def _entries(folder: Path, inside: str, table_name: str) -> Iterator[Entry]:
    path = folder / inside / table_name
    first: dict[str, str] = {}
    for line in table.lines(path, table.WHOLE, inside) if path.is_file() else ():
        name, value = (*line.cells[0].split(maxsplit=1), "")[:2]
        fault = line.fault
        if not value.strip() and table_name != "text":
            fault = fault or ClipError("columns", f"{line.where}: {name!r} alone, expected `id value`")
        if name in first:
            reason = f"{line.where}: {name!r} stands in {first[name]} too, which is taken"
            fault = fault or ClipError("duplicate-id", reason)
        first.setdefault(name, line.where)
        yield Entry(line.where, name, value.strip(), fault)


def _index(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries if not entry.fault}


def _clips(folder: Path, inside: str, part: str, tables: dict[str, dict[str, Entry]]) -> Iterator[Row]:
    def said(table_name: str, key: str) -> str:
        return tables[table_name][key].value if key in tables[table_name] else ""

    segmented = (folder / inside / "segments").is_file()
    clips = tables["segments" if segmented else "wav.scp"]
    for name, text in tables["text"].items():
        if name not in clips:
            reason = f"{text.where}: no audio is listed for {name!r}"
            yield Row(text.where, name, "", "", fault=ClipError("missing", reason))
    for name, clip in clips.items():
        speaker = said("utt2spk", name)
        language, gender = said("utt2lang", name), said("spk2gender", speaker)
        row = Row(clip.where, name, "", said("text", name), speaker, language, gender=gender, part=part)
        try:
            if name not in tables["text"]:
                raise ClipError("no-transcript", f"{clip.where}: text has no line for {name!r}")
            recording, start_s, end_s = _piece(clip) if segmented else (name, 0.0, None)
            audio = _path(folder, inside, clip, tables["wav.scp"].get(recording))
            yield replace(row, audio=audio, start_s=start_s, end_s=end_s)
        except ClipError as fault:
            yield replace(row, fault=fault)


def _piece(segment: Entry) -> tuple[str, float, float | None]:
    """Recording, start and end in seconds; an end of -1 is that of the recording."""
    try:
        recording, start, end = segment.value.split()
        return recording, float(start), None if float(end) == -1 else float(end)
    except ValueError:
        reason = f"{segment.where}: found {segment.value[:80]!r}, expected `recording start_s end_s`"
        raise ClipError("segment", reason) from None


def _path(folder: Path, inside: str, clip: Entry, recording: Entry | None) -> str:
    if recording is None:
        raise ClipError("missing", f"{clip.where}: wav.scp does not list its recording")
    path = recording.value
    if path.startswith("|") or path.endswith("|"):
        raise ClipError("command", f"{recording.where}: {path[:80]!r} is a command, and commands are not run")
    path = table.located(folder, path)
    beside = f"{inside}{path}"
    return beside if inside and (folder / beside).is_file() else path
