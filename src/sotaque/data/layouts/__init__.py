"""Corpus layouts: one file each, with LOOKS_FOR and the verbs `matches(folder)` and `rows(folder)`.

To add one: write its file here, and its name (`two-columns` is two_columns.py) into Layout in settings.py.
A layout whose audio lies inside other files has `unpack(folder, into)` in the place of `rows(folder)`.
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sotaque.data.layouts.row import Row
from sotaque.errors import InputError
from sotaque.settings import Layout

LAYOUTS = {
    name: importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    for name in typing.get_args(Layout)
    if name != "auto"
}
_SHOWN = 10


def read(folder: Path, name: str, unpacked: Path) -> Iterator[Row]:
    """The rows of a corpus; audio that lies inside other files is written below `unpacked`."""
    layout = find(folder, name)
    return layout.unpack(folder, unpacked) if hasattr(layout, "unpack") else layout.rows(folder)


def find(folder: Path, name: str = "auto") -> ModuleType:
    """The layout of a corpus folder, by name or by looking.

    Raises InputError saying what was looked for and what was found.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; put the corpus there, or name another "
            f"folder of {folder.parent}/ in params.yaml under ingest.corpus"
        )
    tried = LAYOUTS if name == "auto" else {name: LAYOUTS[name]}
    for layout in tried.values():
        if layout.matches(folder):
            return layout
    looked_for = "".join(f"\n  {key}: {layout.LOOKS_FOR}" for key, layout in tried.items())
    raise InputError(
        f"{folder}: not a corpus of a known layout. Looked for:{looked_for}\nFound: {_contents(folder)}"
    )


def _contents(folder: Path) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "nothing, the folder is empty"
