"""A mapping of names to values, from JSON or a data frame, as a Row; the names are those of table.NAMES."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError


def row(values: Mapping[str, Any], where: str, inside: str = "") -> Row:
    """The fields that are there; numbers are written out, and null is an empty word.

    A record that lacks audio or text, or holds a list where a word belongs, has a fault.
    """
    given = {name: "" if value is None else value for name, value in values.items()}
    places = table.columns(tuple(given))
    cells = tuple(str(value) for value in given.values())
    line = table.Line(where, cells, _fault(given, places, where))
    return table.row(line, places, range(len(cells), len(cells) + 1), inside)


def _fault(given: Mapping[str, Any], places: dict[str, int], where: str) -> ClipError | None:
    if not places:
        found = ", ".join(map(str, given)) or "nothing"
        return ClipError("columns", f"{where}: found {found[:200]}; expected a name of its audio and text")
    names = list(given)
    for field, place in places.items():
        value = given[names[place]]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            kind = type(value).__name__
            return ClipError(
                "columns", f"{where}: {names[place]} is a {kind}, expected the {field} as a word"
            )
        if isinstance(value, str) and value != value.encode("utf-8", "replace").decode("utf-8"):
            return ClipError("encoding", f"{where}: {names[place]} holds half of a surrogate pair")
    return None
