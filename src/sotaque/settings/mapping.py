"""A dataclass from a mapping of keys to values: an unknown key, a wrong type or a bad range stops here."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import field
from typing import Any, Literal

from sotaque.errors import SettingsError

_LARGEST = 10**300  # beyond every range; float() refuses larger whole numbers
_LONGEST_KEY = 80  # in a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def abbreviate(value: Any) -> str:
    """As repr, but short for a value of any size."""
    return _SHORT.repr(value)


def number(default: float | None, low: float, high: float) -> Any:
    """A field whose value must lie in [low, high], or be the default None where its type allows that."""
    return field(default=default, metadata={"range": (low, high)})


def build(kind: type, values: Any, name: str, where: str = "") -> Any:
    """A dataclass of `kind` from a mapping; `name` is the file, `where` the dotted key so far.

    Raises SettingsError naming the key, the value found and what is allowed.
    """
    if not isinstance(values, dict):
        raise SettingsError(
            f"{name}: {where or 'the file'} is {abbreviate(values)}, expected a mapping of keys to values"
        )
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(str(key)[:_LONGEST_KEY], fields, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise SettingsError(
                f"{name}: unknown key {_dotted(where, key)}: {abbreviate(values[key])}; {hint}"
                f"allowed here: {', '.join(fields) or 'none'}"
            )
    missing = [
        f.name
        for f in fields.values()
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    if missing:
        raise SettingsError(f"{name}: {_dotted(where, missing[0])} is missing; it must be given")
    for key, value in values.items():
        _check_spelling(value, f"{name}: {_dotted(where, key)}", fields[key].metadata.get("suggest"))
    built = {
        key: _convert(hints[key], value, name, _dotted(where, key), fields[key].metadata.get("range"))
        for key, value in values.items()
    }
    return kind(**built)


def _check_spelling(value: Any, where: str, suggest: Callable[[str], str] | None) -> None:
    """Raise SettingsError where a value is another spelling of an allowed one, which `suggest` returns."""
    allowed = suggest(value) if suggest and isinstance(value, str) else ""
    if allowed and value != allowed:
        raise SettingsError(f"{where} is {abbreviate(value)}; did you mean {allowed}? Write {allowed}")


def _dotted(where: str, key: object) -> str:
    key = str(key)[:_LONGEST_KEY]
    return f"{where}.{key}" if where else key


def _convert(kind: Any, value: Any, name: str, where: str, bounds: tuple[float, float] | None) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value if value is not None else {}, name, where)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return _convert(type(value) if type(value) in kinds else kinds[0], value, name, where, bounds)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise SettingsError(
                f"{name}: {where} is {abbreviate(value)}, allowed: {', '.join(map(str, arguments))}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise SettingsError(f"{name}: {where} is {abbreviate(value)}, expected a list")
        return tuple(_convert(arguments[0], v, name, f"{where}[{i}]", bounds) for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SettingsError(f"{name}: {where} is {abbreviate(value)}, expected a mapping")
        keys = [_convert(arguments[0], str(key), name, f"a key of {where}", None) for key in value]
        items = zip(keys, value.values(), strict=True)
        return {k: _convert(arguments[1], v, name, _dotted(where, k), bounds) for k, v in items}
    return _scalar(kind, value, name, where, bounds)


def _scalar(kind: type, value: Any, name: str, where: str, bounds: tuple[float, float] | None) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(min(max(value, -_LARGEST), _LARGEST))
    if type(value) is not kind:
        word = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[kind]
        limits = f" from {bounds[0]} to {bounds[1]}" if bounds else ""
        found = "empty" if value is None else abbreviate(value)
        raise SettingsError(f"{name}: {where} is {found}, expected {word}{limits}")
    if kind is float and not math.isfinite(value):
        raise SettingsError(f"{name}: {where} is {value!r}, expected a finite number")
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise SettingsError(f"{name}: {where} is {abbreviate(value)}, allowed: {bounds[0]} to {bounds[1]}")
    return value


def lookup(settings: Any, dotted: str) -> Any:
    """The plain value (dicts, lists, numbers, words) of a dotted key such as `train.lr` or `lora`."""
    value: Any = settings
    for part in dotted.split("."):
        value = getattr(value, part)
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return json.loads(json.dumps(plain))
