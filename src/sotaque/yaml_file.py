"""The only reader of YAML: the core schema of YAML 1.2 (yaml.org/spec/1.2.2, 10.3), from libyaml's events.

`010` is 10, `0o10` is 8, `1e-4` is a number; `yes`, `off` and `1:30` are strings. A string that DVC
(ruamel.yaml) would read as something else must be quoted. Settings need no tags, no second document, no NaN
or infinity, no lists as keys and no key twice: these are refused. Values are plain dicts, lists, strings,
numbers, true, false and null; keys are strings as they are written.
"""

from __future__ import annotations

import codecs
import copy
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sotaque import files
from sotaque.errors import ClipError, SettingsError

MAX_BYTES = 2**22
MAX_DEPTH = 100  # of lists and mappings in one another
MAX_VALUES = 100_000  # with each alias counted as what it stands for
_LARGEST_WHOLE = 2**63
_SHOWN = 80
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# No string to every reader of YAML: dates and times, `0b1`, `+0x1f`, numbers with `_` in them, `<<`, `=`.
_DISPUTED = re.compile(
    r"""[0-9]{4}-[0-9]{2}-[0-9]{2} | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9].*
    | [-+]?0b[01_]+ | [-+]?0o[0-7_]+ | [-+]?0x[0-9a-fA-F_]+
    | (?=.*_)(?:[-+]|(?=[0-9.]))[0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9_]+)?
    | << | =""",
    re.VERBOSE,
)
_OLD_BREAK = re.compile("[\x85\u2028\u2029]")  # libyaml would end a line there
_MERGE = "<<"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # for its events only


def read(path: Path) -> Any:
    """Parse one YAML file.

    Raises SettingsError naming the file, and the line, when it is missing, not UTF-8 or not as said above.
    """
    try:
        raw = files.read_untrusted(Path(path), MAX_BYTES)
    except ClipError as error:
        if not os.path.lexists(path):
            raise SettingsError(f"{path}: there is no such file") from None
        raise SettingsError(f"{error.reason}; expected a YAML file of at most {MAX_BYTES} bytes") from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SettingsError(f"{path}: cannot be read: it is UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{path}: cannot be read: the byte 0x{raw[error.start]:02x} in line {line} is not UTF-8; "
            "save it as UTF-8"
        ) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Any:
    """The value of one YAML document; `name` is the file or option, for messages.

    Raises SettingsError naming the line, what was found and what to write.
    """
    old_break = _OLD_BREAK.search(text)
    if old_break:
        line, found = text.count("\n", 0, old_break.start()) + 1, f"U+{ord(old_break[0]):04X}"
        raise SettingsError(f"{name}: line {line}: the character {found} ends a line in YAML 1.1; remove it")
    try:
        return _Document(name).value(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise SettingsError(f"{name}: {line}not valid YAML: {reason}; correct the line") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{name}: not valid YAML: {reason}; remove what is no text") from None


class _Document:
    """Builds the value of one document from the parser's events, within the limits above."""

    def __init__(self, name: str):
        self._name = name
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, and of how many values it is made
        self._count = 0

    def value(self, events: Iterator[yaml.Event]) -> Any:
        result, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document begins", "write one, without `---` or `...`")
                if event.version not in (None, (1, 2)):
                    raise self._error(event, "%YAML is not 1.2", "remove the line that begins with %YAML")
            elif isinstance(event, yaml.NodeEvent):
                result = self._node(event, events, "", 0)
        return result

    def _node(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], where: str, depth: int) -> Any:
        """One value; `where` is the dotted key that leads to it."""
        before = self._count
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, f"*{event.anchor} stands for no value before it", "write the value")
            value, count = self._anchors[event.anchor]
            self._add(event, count)
            return copy.deepcopy(value)
        self._add(event, 1)
        if event.tag is not None:
            found = f"{where or 'the file'} has the tag {event.tag[:_SHOWN]}"
            raise self._error(
                event, found, 'tags are not read; remove it, and quote what should be a string: "1"'
            )
        if depth > MAX_DEPTH:
            raise self._error(event, f"over {MAX_DEPTH} nested levels", "expected three or four; correct it")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            for item in events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                value.append(self._node(item, events, f"{where}[{len(value)}]", depth + 1))
        else:
            value = self._mapping(events, where, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _mapping(self, events: Iterator[yaml.Event], where: str, depth: int) -> dict[str, Any]:
        """Keys of a merged mapping (`<<: *base`) stand behind those that are written out."""
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_event in events:
            if isinstance(key_event, yaml.MappingEndEvent):
                break
            if not isinstance(key_event, yaml.ScalarEvent):
                kind = type(key_event).__name__.removesuffix("Event").removesuffix("Start").lower()
                raise self._error(key_event, f"a key is a {kind}", "expected a string before the colon")
            key = self._text(key_event)
            inside = f"{where}.{key[:_SHOWN]}" if where else key[:_SHOWN]
            if key_event.tag is not None:
                raise self._error(key_event, f"the key {key!r:.80} has a tag", "remove the tag")
            if key in own:
                raise self._error(key_event, f"the key {key!r:.80} stands twice", "keep one of the two")
            value = self._node(next(events), events, inside, depth + 1)
            if key == _MERGE and key_event.implicit[0]:
                sources = value if isinstance(value, list) else [value]
                if not all(isinstance(source, dict) for source in sources):
                    raise self._error(key_event, f"{inside} is no mapping", "merge a mapping: <<: *name")
                for source in sources:
                    merged = source | merged
            else:
                own[key] = value
        return merged | own

    def _scalar(self, event: yaml.ScalarEvent, where: str) -> Any:
        text = self._text(event)
        if not event.implicit[0]:  # quoted, or a block
            return text
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        shown = f"{where or 'the file'} is {text[:_SHOWN]}"
        if _NOT_FINITE.fullmatch(text):
            raise self._error(event, shown, "expected a finite number")
        if _WHOLE.fullmatch(text):
            digits = len(text) - 2 if text[:2] in ("0o", "0x") else len(text)
            value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if digits < 100 else _LARGEST_WHOLE
            if abs(value) >= _LARGEST_WHOLE:
                raise self._error(event, f"{shown}: {digits} digits", "expected a number below 2^63")
            return value
        if _NUMBER.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise self._error(event, shown, "expected a finite number")
            return number
        if _DISPUTED.fullmatch(text):
            found = f"{shown}, which is a string to some programs and none to others"
            raise self._error(event, found, f'write it in quotes: "{text[:_SHOWN]}"')
        return text

    def _text(self, event: yaml.ScalarEvent) -> str:
        for character in event.value:
            if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
                raise self._error(event, f"the character {character!a}", "remove it")
        return event.value

    def _add(self, event: yaml.Event, count: int) -> None:
        self._count += count
        if self._count > MAX_VALUES:
            fix = "write out what the aliases (*name) stand for" if self._anchors else "divide the file"
            raise self._error(event, f"over {MAX_VALUES} values", fix)

    def _error(self, event: yaml.Event, found: str, fix: str) -> SettingsError:
        return SettingsError(f"{self._name}: line {event.start_mark.line + 1}: {found}; {fix}")
