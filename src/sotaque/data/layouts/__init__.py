"""Corpus layouts: one file each, with LOOKS_FOR and the verbs `matches(folder)` and `rows(folder)`.

To add one: write its file here, its name (`two-columns` is two_columns.py) into Layout in settings/data.py.
A layout whose audio lies inside other files has `unpack(folder, into)` in the place of `rows(folder)`.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row
from sotaque.errors import InputError
from sotaque.settings import Layout

LAYOUTS = {
    name: importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    for name in typing.get_args(Layout)
    if name != "auto"
}
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_SHOWN = 10
_LISTINGS = (".csv", ".tsv", ".psv", ".txt", ".jsonl", ".json")


def read(folder: Path, name: str, unpacked: Path) -> Iterator[Row]:
    """The rows of a corpus; audio that lies inside other files is written below `unpacked`."""
    layout = find(folder, name)
    return layout.unpack(folder, unpacked) if hasattr(layout, "unpack") else layout.rows(folder)


def root(folder: Path, name: str) -> Path:
    """The folder itself, or the only one inside it, as archives bring it, where the corpus lies there."""
    if not folder.is_dir():
        return folder
    seen = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    inner = seen[0] if len(seen) == 1 and seen[0].is_dir() and not seen[0].is_symlink() else None
    return inner if inner and not _match(folder, name) and _match(inner, name) else folder


def archives(folder: Path) -> str:
    """What to say of archives that nobody has unpacked, "" where there are none."""
    names = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(ARCHIVES))
    return f"; archives are not opened, unpack {', '.join(names[:_SHOWN])} there first" if names else ""


def _match(folder: Path, name: str) -> ModuleType | None:
    tried = LAYOUTS.values() if name == "auto" else [LAYOUTS[name]]
    return next((layout for layout in tried if layout.matches(folder)), None)


def find(folder: Path, name: str = "auto") -> ModuleType:
    """The layout of a corpus folder, by name or by looking.

    Raises InputError saying what was looked for and what was found.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; put the corpus there, or name another "
            f"folder of {folder.parent}/ in params.yaml under ingest.corpus"
        )
    layout = _match(folder, name)
    if layout:
        return layout
    tried = LAYOUTS if name == "auto" else {name: LAYOUTS[name]}
    looked_for = "".join(f"\n  {key}: {layout.LOOKS_FOR}" for key, layout in tried.items())
    raise InputError(
        f"{folder}: not a corpus of a known layout. Looked for:{looked_for}\n"
        f"Found: {_contents(folder)}{archives(folder)}"
    )


def name_of(layout: ModuleType) -> str:
    return next(name for name, one in LAYOUTS.items() if one is layout)


def _contents(folder: Path) -> str:
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(_shown, paths[:_SHOWN])) + more or "nothing, the folder is empty"


def _shown(path: Path) -> str:
    """A listing with what it begins with: its header may have names that nobody knows."""
    if not (path.suffix.lower() in _LISTINGS and path.is_file()):
        return path.name + "/" * path.is_dir()
    return f"{path.name} (begins {table.first_line(path)[:80]!r})"
