"""Corpus layouts: one file each, with LOOKS_FOR and the verbs `matches(folder)` and `rows(folder)`.

To add one: write its file here, its name (`two-columns` is two_columns.py) into Layout in settings/data.py.
A layout whose audio lies inside other files has `unpack(folder, into)` in the place of `rows(folder)`.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from sotaque.data.layouts import columns, depth, sources, unread
from sotaque.data.layouts.parts import part_of
from sotaque.data.layouts.reading import current
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError, InputError, join_first
from sotaque.settings import Layout

LAYOUTS = {
    name: importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    for name in typing.get_args(Layout)
    if name != "auto"
}
_SHOWN = 10
_LISTINGS = (".csv", ".tsv", ".psv", ".txt", ".jsonl", ".json")
_DEEPEST = 4


def read(folder: Path, name: str, unpacked: Path) -> Iterator[Row]:
    """The rows of a corpus; audio that lies inside other files is written below `unpacked`."""
    layout = find(folder, name)
    if not _match(folder, name):
        places = _places(folder, name)
        are_languages = all(columns.is_language(place.name) for place in places)
        for place in places:
            yield from _below(folder, place, layout, unpacked, are_languages)
        return
    yield from _rows(folder, layout, unpacked)


def _rows(folder: Path, layout: ModuleType, unpacked: Path) -> Iterator[Row]:
    return layout.unpack(folder, unpacked) if hasattr(layout, "unpack") else layout.rows(folder)


def _below(folder: Path, place: Path, layout: ModuleType, unpacked: Path, is_language: bool) -> Iterator[Row]:
    """The rows of one of several corpora side by side: its folder names the part, language or speaker."""
    inside = place.relative_to(folder).as_posix()
    part, language = part_of(inside), inside if is_language else ""
    speaker = "" if part or language or depth.is_session(inside) else inside
    with current().below(f"{inside}/"):
        rows = list(_rows(place, layout, unpacked / inside))
    for row in rows:
        yield replace(
            row,
            where=f"{inside}/{row.where}",
            id=f"{inside}/{row.id}",
            audio=row.audio if row.unpacked or not row.audio else f"{inside}/{row.audio}",
            part=row.part or part,
            language=row.language or language,
            speaker=row.speaker or speaker,
            fault=row.fault and ClipError(row.fault.code, f"in {inside}/: {row.fault.reason}"),
        )


def root(folder: Path, name: str) -> Path:
    """The folder in which the corpus lies: this one, or one inside the folders that an archive brings."""
    for _ in range(_DEEPEST):
        inner = _inner(folder, name) if folder.is_dir() else None
        if inner is None:
            return folder
        folder = inner
    return folder


def _inner(folder: Path, name: str) -> Path | None:
    """The folder to be entered, None where the corpus lies in this one."""
    inner = depth.only_folder(folder)
    layout = _match(folder, name)
    if layout:
        return inner if inner and depth.is_wrapper(inner, layout is LAYOUTS["fish"]) else None
    if inner:
        return inner if _holds_corpus(inner, name) else None
    places = _places(folder, name)
    return places[0] if len(places) == 1 else None


def _holds_corpus(folder: Path, name: str, deep: int = 1) -> bool:
    if _match(folder, name) or _places(folder, name):
        return True
    inner = depth.only_folder(folder)
    return inner is not None and deep < _DEEPEST and _holds_corpus(inner, name, deep + 1)


def archives(folder: Path) -> str:
    """What to say of archives that nobody has unpacked, "" where there are none."""
    names = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(depth.ARCHIVES))
    return f"; archives are not opened, unpack {', '.join(names[:_SHOWN])} there first" if names else ""


def _match(folder: Path, name: str) -> ModuleType | None:
    tried = LAYOUTS.values() if name == "auto" else [LAYOUTS[name]]
    return next((layout for layout in tried if layout.matches(folder)), None)


def _places(folder: Path, name: str) -> list[Path]:
    """The folders in this one, where all that hold a corpus have one layout; empty for any other."""
    found = {place: _match(place, name) for place in sources.folders(folder)}
    places = [place for place, layout in found.items() if layout]
    return places if len({layout for layout in found.values() if layout}) == 1 else []


def find(folder: Path, name: str = "auto") -> ModuleType:
    """The layout of a corpus folder, by name or by looking.

    Raises InputError saying what was looked for and what was found.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; put the corpus there, or name another "
            f"folder of {folder.parent}/ in params.yaml under ingest.corpus"
        )
    layout = _match(folder, name) or next((_match(place, name) for place in _places(folder, name)), None)
    if layout:
        return layout
    explained = unread.explain(folder)
    if explained:
        raise InputError(f"{folder}: {explained}{archives(folder)}")
    tried = LAYOUTS if name == "auto" else {name: LAYOUTS[name]}
    looked_for = "".join(f"\n  {key}: {layout.LOOKS_FOR}" for key, layout in tried.items())
    raise InputError(
        f"{folder}: not a corpus of a known layout. Looked for:{looked_for}\n"
        f"Found: {_contents(folder)}{archives(folder)}"
    )


def name_of(layout: ModuleType) -> str:
    return next(name for name, one in LAYOUTS.items() if one is layout)


def _contents(folder: Path) -> str:
    paths = sources.entries(folder)
    return join_first([_shown(path) for path in paths], _SHOWN, ", ") or "nothing, the folder is empty"


def _shown(path: Path) -> str:
    """A listing with what it begins with: its header may have names that nobody knows."""
    if not (path.suffix.lower() in _LISTINGS and sources.is_file(path)):
        return path.name + "/" * path.is_dir()
    return f"{path.name} (begins {sources.first_line(path)[:80]!r})"
