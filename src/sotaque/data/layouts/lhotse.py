"""Lhotse's manifests: recordings.jsonl with supervisions.jsonl, or cuts.jsonl; also .jsonl.gz.

They lie at the top or one folder below and are told by their keys, whatever they are called. A supervision is
a clip: a piece of its recording. Paths count from the corpus folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.data.layouts import jsonl, parts, recordings, sources, table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "recordings.jsonl and supervisions.jsonl, or cuts.jsonl, as Lhotse writes them (also .jsonl.gz)"
SUFFIXES = (".jsonl", ".jsonl.gz")
_KEYS = {
    "recordings": {"id", "sources", "sampling_rate"},
    "supervisions": {"id", "recording_id", "start", "duration"},
    "cuts": {"id", "start", "duration", "supervisions", "recording"},
}


def matches(folder: Path) -> bool:
    kinds = set(_manifests(folder).values())
    return "cuts" in kinds or {"recordings", "supervisions"} <= kinds


def rows(folder: Path) -> Iterator[Row]:
    """One row per supervision, and one, with a fault, per line that is none."""
    manifests = _manifests(folder)
    found = {path: list(jsonl.entries(path, _inside(folder, path))) for path in manifests}
    sounds = {
        str(values.get("id")): values
        for path, kind in manifests.items()
        for _, values, fault in found[path]
        if kind == "recordings" and not fault
    }
    clips: list[Row] = []
    for path, kind in manifests.items():
        part = _part_of(path)
        for where, values, fault in found[path]:
            if fault:
                clips.append(Row(where, where, "", "", fault=fault))
            elif kind == "cuts":
                clips += _read_cut(values, where, part)
            elif kind == "supervisions":
                clips.append(_row(values, sounds.get(str(values.get("recording_id"))), 0.0, where, part))
    yield from recordings.resolve(clips, recordings.of(folder))


def _read_cut(cut: Mapping[str, Any], where: str, part: str) -> Iterator[Row]:
    """The supervisions of a cut count from its start; one without any has no transcript."""
    listed = cut.get("supervisions")
    supervisions = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    try:
        start_s = table.seconds(cut.get("start"), "the start of the cut") or 0.0
    except ValueError as error:
        yield Row(where, where, "", "", fault=ClipError("segment", f"{where}: {error}"))
        return
    if not supervisions:
        yield Row(
            where, where, "", "", fault=ClipError("no-transcript", f"{where}: a cut without supervisions")
        )
    for supervision in supervisions:
        yield _row(supervision, cut.get("recording"), start_s, where, part)


def _row(supervision: Mapping[str, Any], recording: Any, offset_s: float, where: str, part: str) -> Row:
    words = {key: supervision.get(key) for key in ("id", "text", "speaker", "language", "gender")}
    words = {key: str(value) if isinstance(value, str | int | float) else "" for key, value in words.items()}
    if not all(map(files.is_utf8, words.values())):
        return Row(where, where, "", "", fault=ClipError("encoding", f"{where}: half of a surrogate pair"))
    row = {"where": where, **words, "part": part}
    try:
        path = _path(recording, where)
        start_s, end_s = table.piece(supervision.get("start"), None, supervision.get("duration"))
    except ClipError as fault:
        return Row(**row, audio="", fault=fault)
    except ValueError as error:
        return Row(**row, audio="", fault=ClipError("segment", f"{where}: {error}"))
    return Row(
        **row, audio=path, start_s=start_s + offset_s, end_s=None if end_s is None else end_s + offset_s
    )


def _path(recording: Any, where: str) -> str:
    """The file of a recording; raises ClipError: missing, command."""
    found = recording.get("sources") if isinstance(recording, dict) else None
    source = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    kind, path = source.get("type"), source.get("source")
    if kind == "command":
        raise ClipError("command", f"{where}: {str(path)[:80]!r} is a command, and commands are not run")
    if kind != "file" or not isinstance(path, str):
        raise ClipError("missing", f"{where}: its recording names no file")
    return path


def _manifests(folder: Path) -> dict[Path, str]:
    """Path -> recordings, supervisions or cuts; each kind from the first folder that has them."""
    places = [folder, *sources.folders(folder)]
    paths = [
        p for at in places for p in sources.entries(at) if p.name.endswith(SUFFIXES) and sources.is_file(p)
    ]
    kinds = {path: _kind_of(path) for path in paths}
    has_cuts = "cuts" in kinds.values()
    return {path: kind for path, kind in kinds.items() if kind and has_cuts == (kind == "cuts")}


def _kind_of(path: Path) -> str:
    first = next(iter(jsonl.first_entries(path)), {})
    return next((kind for kind, keys in _KEYS.items() if keys <= first.keys()), "")


def _part_of(path: Path) -> str:
    """`mls-portuguese_supervisions_train.jsonl.gz` and `train/cuts.jsonl` name a part."""
    words = path.name.split(".")[0].replace("-", "_").split("_")
    named = [word for word in words if parts.part_of(word)]
    return parts.part_of(named[0]) if len(named) == 1 else parts.part_of(path.parent.name)


def _inside(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix().removesuffix(path.name)
