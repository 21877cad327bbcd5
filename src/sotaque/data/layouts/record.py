"""A mapping of names to values, from JSON or a data frame, as a Row; the names are those of columns.NAMES."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sotaque import files
from sotaque.data.layouts import columns, table
from sotaque.data.layouts.reading import STATED, Column, Listing, current
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

_TIMES = ("start", "end", "duration")


def row(values: Mapping[str, Any], where: str, lead: str = "", has_pieces: bool = False) -> Row:
    """The fields that are there; numbers are written out, and null and NaN are an empty word.

    A record that lacks audio or text, or holds a list where a word belongs, has a fault.
    lead: what leads to where audio paths begin. has_pieces: whether a duration alone counts from the
    beginning, as in NeMo.
    """
    given = {name: "" if value is None or value != value else value for name, value in values.items()}
    places = columns.of_header(tuple(given))
    cells = tuple(str(value) for value in given.values())
    fault = _fault(given, places, where)
    untimed = {field: at for field, at in places.items() if field not in _TIMES}
    found = table.row(table.Line(where, cells, fault), untimed, lead)
    names = list(given)
    start, end, duration = (values[names[places[f]]] if f in places else None for f in _TIMES)
    try:
        start_s, end_s = table.piece(start, end, duration if has_pieces or "start" in places else None)
    except ValueError as error:
        return replace(found, fault=fault or ClipError("segment", f"{where}: {error}"))
    return replace(found, start_s=start_s, end_s=end_s)


def note(file: str, rows: int, names: Iterable[str], sound: str = "") -> None:
    """Record what the keys of a listing were taken for. sound: the one that holds the audio itself."""
    header = tuple(names)
    fields = {at: field for field, at in columns.fields_of(header).items()}
    if sound:
        fields = {at: field for at, field in fields.items() if field != "audio"} | {
            header.index(sound): "audio"
        }
    stated = {columns.key_of(name) for name in current().columns.values()}
    taken = tuple(
        Column(
            at + 1,
            name,
            fields.get(at, ""),
            STATED if columns.key_of(name) in stated else
            "by its name" if at in fields else "its name is unknown",
        )
        for at, name in enumerate(header)
    )  # fmt: skip
    current().note(Listing(file, rows, "", False, taken))


def _fault(given: Mapping[str, Any], places: Mapping[str, int], where: str) -> ClipError | None:
    if not places:
        found = ", ".join(map(str, given)) or "nothing"
        return ClipError("columns", f"{where}: found {found[:200]}; expected a name of its audio and text")
    names = list(given)
    for field, place in places.items():
        value = given[names[place]]
        if field in _TIMES:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            kind = type(value).__name__
            return ClipError(
                "columns", f"{where}: {names[place]} is a {kind}, expected the {field} as a word"
            )
        if isinstance(value, str) and not files.is_utf8(value):
            return ClipError("encoding", f"{where}: {names[place]} holds half of a surrogate pair")
    return None
