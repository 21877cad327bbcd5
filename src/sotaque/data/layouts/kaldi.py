"""Kaldi's data folders: wav.scp, text, and utt2spk, utt2lang, segments, spk2gender where they are.

They lie at the top, in train/, dev/, test/ or in folders of data/, as recipes have them. Paths count from the
corpus folder or from the listing.
A command in wav.scp (`sph2pipe ... |`) is never run: its clips are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sotaque.data.layouts import parts, recordings, sources, table
from sotaque.data.layouts.recordings import Recordings
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "wav.scp with `id path` and text with `id words`, here, in train/, dev/, test/ or in data/*/"
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
    audio = recordings.of(folder)
    for inside, part in _folders(folder).items():
        tables = {name: list(_entries(folder, inside, name)) for name in TABLES}
        tables["text"] = _mark_halves(tables)
        for entries in tables.values():
            yield from (Row(e.where, e.name, "", "", fault=e.fault) for e in entries if e.fault)
        index = {name: _index(entries) for name, entries in tables.items()}
        faulty = {entry.name for entry in tables["text"] if entry.fault} - index["text"].keys()
        for row in _clips(folder, inside, part, index, audio):
            if row.id not in faulty:
                yield row


def _folders(folder: Path) -> dict[str, str]:
    found = parts.folders(folder)
    if (folder / "data").is_dir() and not (folder / "data").is_symlink():
        names = [path.name for path in sources.folders(folder / "data")]
        found |= {"data/": "", **{f"data/{name}/": parts.part_of(name) for name in names}}
    needed = ("wav.scp", "text")
    return {
        at: part for at, part in found.items() if all(sources.is_file(folder / at / name) for name in needed)
    }


def _entries(folder: Path, inside: str, table_name: str) -> Iterator[Entry]:
    path = folder / inside / table_name
    first: dict[str, str] = {}
    for line in table.lines(path, table.WHOLE, inside) if sources.is_file(path) else ():
        name, value = (*line.cells[0].split(maxsplit=1), "")[:2]
        fault = line.fault
        if not value.strip() and table_name != "text":
            fault = fault or ClipError("columns", f"{line.where}: {name!r} alone, expected `id value`")
        if name in first:
            reason = f"{line.where}: {name!r} stands in {first[name]} too, which is taken"
            fault = fault or ClipError("duplicate-id", reason)
        first.setdefault(name, line.where)
        yield Entry(line.where, name, value.strip(), fault)


def _mark_halves(tables: Mapping[str, list[Entry]]) -> list[Entry]:
    """The texts; a line without an id that is known or looks like one may go on with the text before."""
    known = {entry.name for entry in tables["segments"] or tables["wav.scp"]}
    ids, texts = table.Ids(known), tables["text"]
    starts = [entry.name in known or ids.fits(entry.name) for entry in texts]
    lines = [table.Line(entry.where, (), entry.fault) for entry in texts]
    checked = table.mark_halves(lines, [True] * len(lines), starts)
    return [replace(entry, fault=line.fault) for entry, line in zip(texts, checked, strict=True)]


def _index(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries if not entry.fault}


def _clips(
    folder: Path, inside: str, part: str, tables: dict[str, dict[str, Entry]], audio: Recordings
) -> Iterator[Row]:
    prefix = audio.prefix([entry.value for entry in tables["wav.scp"].values()])

    def said(table_name: str, key: str) -> str:
        return tables[table_name][key].value if key in tables[table_name] else ""

    segmented = sources.is_file(folder / inside / "segments")
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
            path = _path(audio, inside, clip, tables["wav.scp"].get(recording), prefix)
            yield replace(row, audio=path, start_s=start_s, end_s=end_s)
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


def _path(audio: Recordings, inside: str, clip: Entry, recording: Entry | None, prefix: str) -> str:
    if recording is None:
        raise ClipError("missing", f"{clip.where}: wav.scp does not list its recording")
    path = recording.value
    if path.startswith("|") or path.endswith("|"):
        raise ClipError("command", f"{recording.where}: {path[:80]!r} is a command, and commands are not run")
    beside = audio.find(f"{inside}{path}") if inside else None
    return beside or audio.find(path) or audio.find(path.removeprefix(prefix)) or path
