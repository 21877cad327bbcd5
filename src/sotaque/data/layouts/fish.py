"""Fish: one folder per speaker, <speaker>/.../<clip>.{wav,flac,mp3} with its transcript in <clip>.lab.

A <clip>.txt is as good, where there is no .lab; one without audio beside it is no transcript.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "<speaker>/<clip>.wav (or .flac, .mp3) with <clip>.lab or <clip>.txt beside it"
TRANSCRIPT, OTHER = ".lab", ".txt"


def matches(folder: Path) -> bool:
    names = {name for name, _ in _walk(folder)}
    return any(
        name.endswith(TRANSCRIPT) or (table.without_suffix(name) != name and _label(name, names) in names)
        for name in names
    )


def rows(folder: Path) -> Iterator[Row]:
    """One row per audio file, one per transcript without audio, one per linked folder (not entered)."""
    entries = list(_walk(folder))
    names = {name for name, _ in entries}
    stems = {table.without_suffix(name) for name in names if table.without_suffix(name) != name}
    for name, linked in entries:
        stem = name.removesuffix(TRANSCRIPT) if name.endswith(TRANSCRIPT) else table.without_suffix(name)
        if linked:
            reason = "is a link to a folder; links are not followed, put the folder itself there"
            yield Row(name, name, name, "", fault=ClipError("outside-root", reason))
        elif name.endswith(TRANSCRIPT) and stem not in stems:
            yield Row(
                name, stem, f"{stem}.wav", "", fault=ClipError("missing", f"{name} has no audio beside it")
            )
        elif stem in stems and not name.endswith(TRANSCRIPT):
            yield _clip(folder, name, stem, names)


def _clip(folder: Path, name: str, stem: str, names: set[str]) -> Row:
    speaker = name.split("/")[0] if "/" in name else ""
    label = _label(name, names)
    if label not in names:
        return Row(name, stem, name, "", speaker, fault=ClipError("no-transcript", f"there is no {label}"))
    if not (folder / label).resolve().is_relative_to(folder.resolve()):
        return Row(
            name, stem, name, "", speaker, fault=ClipError("outside-root", f"{label} links out of the corpus")
        )
    text = table.decode((folder / label).read_bytes(), label)
    if not table.readable(text):
        fault = ClipError("encoding", f"{label}: {table.not_encoded()}")
        return Row(name, stem, name, "", speaker, fault=fault)
    return Row(label, stem, name, text, speaker)


def _label(name: str, names: set[str]) -> str:
    """The transcript of an audio file, whether it is there or not."""
    stem = table.without_suffix(name)
    return stem + OTHER if stem + TRANSCRIPT not in names and stem + OTHER in names else stem + TRANSCRIPT


def _walk(folder: Path) -> Iterator[tuple[str, bool]]:
    """(path relative to the corpus, whether it is a link to a folder), sorted."""
    found = []
    for at, inside, here in os.walk(folder):
        found += [(Path(at, name), False) for name in here]
        found += [(Path(at, name), True) for name in inside if Path(at, name).is_symlink()]
    yield from sorted((path.relative_to(folder).as_posix(), linked) for path, linked in found)
