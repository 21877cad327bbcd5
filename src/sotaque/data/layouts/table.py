"""Corpus listings as text tables: delimiters, quotes, broken lines, and rows by their columns.

A line that cannot be used costs its own clip, and where a text may go on in the next line, both: half a
sentence is never kept.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sotaque import files
from sotaque.data.layouts import columns, sources
from sotaque.data.layouts.reading import Listing, current
from sotaque.data.layouts.recordings import Recordings, is_audio
from sotaque.data.layouts.row import Row
from sotaque.data.transcripts import is_no_value
from sotaque.errors import ClipError

DELIMITERS = "|\t;,"
WHOLE = "\n"
_ALWAYS_QUOTED = (",", ";")
_SAMPLE_LINES = 5_000
_MOST_JOINED = 50
_LONGEST_NAME = 40  # characters of a name in a header
LONGEST_S = 1e7
_SPOKEN = ("text", "normalised", "audio", "id")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")


@dataclass(frozen=True)
class Line:
    """One line of a listing, cut into cells; fault: why it could not be."""

    where: str
    cells: tuple[str, ...]
    fault: ClipError | None = None


def lines(path: Path, delimiter: str, inside: str = "") -> list[Line]:
    """All lines that are not blank, none of them quoted. WHOLE as delimiter leaves each line in one cell.

    inside: "train/" where the listing lies there.
    """
    return [_cut_line(where, text, delimiter, False) for where, text in _number_lines(path, inside)]


def read(
    path: Path,
    recordings: Recordings,
    delimiter: str,
    lead: str = "",
    quoted: bool | None = None,
    has_normalised: bool = False,
) -> list[Row]:
    """The rows of a table, not resolved yet, by what its columns were taken for.

    lead: what leads from the corpus folder to where audio paths begin, "train/" or nothing.
    quoted: whether `"` quotes, as in RFC 4180; None: by looking. has_normalised: see columns.choose.
    """
    inside = path.relative_to(recordings.folder).as_posix().removesuffix(path.name)
    numbered = _number_lines(path, inside)
    if quoted is None:
        texts = [text for _, text in numbered]
        quoted = delimiter in _ALWAYS_QUOTED or is_quoted(texts, delimiter, recordings)
    if quoted:
        numbered = _join_quoted(numbered, delimiter, recordings)
    body = [_cut_line(where, text, delimiter, quoted) for where, text in numbered]
    header = _find_header(body[0].cells, recordings) if body else ()
    body = body[1:] if header else body
    count = len(_trim_header(header)) or _count_usual_cells(body)
    name = f"{inside}{path.name}"
    cells = [line.cells for line in body if not line.fault and len(line.cells) >= count]
    choice = columns.choose(header, cells, count, recordings, name, has_normalised)
    audio = choice.places.get("audio", choice.places.get("id", 0))
    heading = () if header else _find_heading(body, count, audio, recordings)
    current().note(Listing(name, len(body), delimiter, quoted, choice.columns, heading))
    if heading:
        body = _mark_heading(body, heading, audio, choice.places, recordings)
    return [row(line, choice.places, lead) for line in _mark_broken(body, count, audio, recordings)]


def row(line: Line, places: Mapping[str, int], lead: str = "") -> Row:
    """A line as a Row; `places` says where each field stands. lead: see `read`."""
    cell = {field: line.cells[i].strip() for field, i in places.items() if i < len(line.cells)}
    cell = {
        field: "" if is_no_value(value) and field not in _SPOKEN else value for field, value in cell.items()
    }
    text = cell.pop("normalised", "") or cell.get("text", "")
    times = {key: cell.pop(key, "") for key in ("start", "end", "duration")}
    audio = f"{lead}{cell['audio']}" if cell.get("audio") else ""
    cell |= {"where": line.where, "id": cell.get("id", ""), "audio": audio, "text": text}
    try:
        start_s, end_s = piece(times["start"], times["end"], times["duration"] if times["start"] else "")
    except ValueError as error:
        return Row(**cell, fault=line.fault or ClipError("segment", f"{line.where}: {error}"))
    return Row(**cell, start_s=start_s, end_s=end_s, fault=line.fault)


def piece(start: object, end: object, duration: object) -> tuple[float, float | None]:
    """Start and end in seconds; a duration of 0 or below means: to the end, as in NeMo.

    Raises ValueError for what is no time.
    """
    start_s = seconds(start, "the start") or 0.0
    end_s, duration_s = seconds(end, "the end"), seconds(duration, "the duration")
    if end_s is None and duration_s is not None and duration_s > 0:
        end_s = start_s + duration_s
    return start_s, end_s


def seconds(value: object, name: str) -> float | None:
    """`1.9`, `1,9` and `00:01:02.5` as seconds; None for nothing. Raises ValueError for other words."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        clock = _CLOCK.fullmatch(value.strip())
        try:
            number = float(value.replace(",", "."))
            if clock is None and not re.fullmatch(r"[\d.,eE+\s-]+", value):
                raise ValueError
        except ValueError:
            if clock is None:
                raise ValueError(f"{name} is {value!r}"[:80] + ", expected seconds") from None
            hours, minutes, rest = clock.groups()
            number = int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))
        value = number
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LONGEST_S < value < LONGEST_S:
        raise ValueError(f"{name} is {value!r}"[:80] + ", expected seconds")
    return float(value)


def check_count(line: Line, count: int) -> Line:
    """The line, with a fault unless it has `count` cells; empty cells too many at its end are cut off."""
    cells = line.cells
    while len(cells) > count and not cells[-1].strip():
        cells = cells[:-1]
    if line.fault or len(cells) == count:
        return replace(line, cells=cells)
    reason = f"{line.where}: {len(line.cells)} columns, expected {count}"
    return replace(line, fault=ClipError("columns", reason))


def mark_halves(body: Sequence[Line], is_short: Sequence[bool], is_start: Sequence[bool]) -> Iterator[Line]:
    """A line before one that is short and begins no clip may be the first half of a text: both are faulty."""
    for at, line in enumerate(body):
        goes_on = at + 1 < len(body) and is_short[at + 1] and not is_start[at + 1]
        if goes_on and not line.fault:
            reason = f"{line.where}: its text seems to go on in the next line, which is no line of its own"
            line = replace(line, fault=ClipError("columns", reason))
        yield line


class Ids:
    """What the ids of a listing look like: `c12` as letters and a number."""

    def __init__(self, names: Iterable[str]):
        self._shapes = {_shape(name) for name in names}

    def fits(self, name: str) -> bool:
        return any(c.isdigit() for c in name) and _shape(name) in self._shapes


def _shape(name: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", name.strip()))


def is_quoted(texts: Sequence[str], delimiter: str, recordings: Recordings) -> bool:
    """Whether quotes in a `|` or tab table are those of CSV, as pandas writes them, or letters.

    They are where more cells with quotes are well formed than not, or where a whole column is quoted.
    """
    cut = re.escape(delimiter)
    field = re.compile(rf'("(?:[^"]|"")*"(?={cut}|$)|[^{cut}]*)(?:{cut}|$)')
    needed = broken = 0
    wrapped: Counter[int] = Counter()
    filled: Counter[int] = Counter()
    end = 0
    for number, text in enumerate(texts[:_SAMPLE_LINES]):
        if number < end:
            continue
        for at, match in enumerate(field.finditer(text)):
            cell, is_last = match[1], match.end() == len(text)
            filled[at] += bool(cell)
            if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
                wrapped[at] += 1
                needed += '"' in cell[1:-1] or delimiter in cell
            elif is_last and cell.startswith('"') and '"' not in cell[1:].replace('""', ""):
                end = _find_closing(texts, number, delimiter, recordings)
                needed += end > number + 1
            else:
                broken += '"' in cell
    if broken or needed:
        return needed > broken
    return any(count > 1 and count == filled[at] for at, count in wrapped.items())


def _find_closing(texts: Sequence[str], at: int, delimiter: str, recordings: Recordings) -> int:
    """One past the line that closes the quotes of line `at`; at + 1 when none does.

    A line that is complete by itself and names a recording is no continuation.
    """
    count = 0
    for end in range(at + 1, min(at + _MOST_JOINED, len(texts))):
        alone = _parse_record(texts[end], delimiter)
        if len(alone) > 1 and any(_names_recording(cell, recordings) for cell in alone):
            return at + 1
        count = len(_parse_record("\n".join(texts[at : end + 1]), delimiter))
        if count:
            return end + 1 if count > 1 else at + 1
    return at + 1


def _join_quoted(
    numbered: Sequence[tuple[str, str]], delimiter: str, recordings: Recordings
) -> list[tuple[str, str]]:
    """Lines, where the quotes of one are closed in a later one put together."""
    texts = [text for _, text in numbered]
    joined, at = [], 0
    while at < len(texts):
        is_open = texts[at].count('"') % 2 == 1 and not _parse_record(texts[at], delimiter)
        end = _find_closing(texts, at, delimiter, recordings) if is_open else at + 1
        joined.append((numbered[at][0], "\n".join(texts[at:end])))
        at = end
    return joined


def _parse_record(text: str, delimiter: str) -> tuple[str, ...]:
    """The one record that these lines are; empty when they are none."""
    try:
        records = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return ()
    return tuple(records[0]) if len(records) == 1 else ()


def guess_delimiter(texts: Sequence[str], recordings: Recordings) -> str:
    """What cuts the columns of a listing; "" when these lines name no audio and text."""
    for delimiter in DELIMITERS:
        cells = cells_of(texts[0], delimiter)
        if columns.of_header(cells) or (len(cells) > 1 and _is_stated(cells)):
            return delimiter
    best, most = "", 0
    for delimiter in DELIMITERS:
        cut = [cells_of(text, delimiter) for text in texts]
        count = Counter(map(len, cut)).most_common(1)[0][0]
        usual = [cells for cells in cut if len(cells) == count]
        shares = [sum(_names_recording(c[at], recordings) for c in usual) for at in range(count)]
        if count > 1 and max(shares) > max(most, len(texts) // 2):
            best, most = delimiter, max(shares)
    return best


def _names_recording(cell: str, recordings: Recordings) -> bool:
    return is_audio(cell.strip()) or recordings.find_listed(cell.strip()) is not None


def cells_of(text: str, delimiter: str) -> tuple[str, ...]:
    try:
        return tuple(next(csv.reader([text], delimiter=delimiter, strict=True)))
    except (csv.Error, StopIteration):
        return tuple(text.split(delimiter))


def _number_lines(path: Path, inside: str) -> list[tuple[str, str]]:
    name = f"{inside}{path.name}"
    return [(f"{name}, line {number}", text) for number, text in sources.numbered_lines(path, inside)]


def _cut_line(where: str, text: str, delimiter: str, quoted: bool) -> Line:
    if len(text) >= files.MAX_LINE_CHARACTERS:
        reason = f"{where}: {files.MAX_LINE_CHARACTERS} characters on one line, or more"
        return Line(where, (text[:80],), ClipError("line-too-long", reason))
    if not files.is_utf8(text):
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        fault = ClipError("encoding", f"{where}: {sources.not_encoded()}")
        return Line(where, tuple(shown.split(delimiter)), fault)
    if not quoted:
        return Line(where, tuple(text.split(delimiter)))
    try:
        return Line(where, tuple(next(csv.reader([text], delimiter=delimiter, strict=True))))
    except csv.Error as error:
        return Line(where, tuple(text.split(delimiter)), ClipError("quotes", f"{where}: {error}"))


def _find_header(cells: Sequence[str], recordings: Recordings) -> tuple[str, ...]:
    """The first line, where it names columns and no recording; else empty."""
    if columns.of_header(cells) or _is_stated(cells):
        return tuple(cells)
    recorded = any(_names_recording(cell, recordings) for cell in cells)
    return tuple(cells) if columns.fields_of(cells) and not recorded else ()


def _find_heading(body: Sequence[Line], count: int, audio: int, recordings: Recordings) -> tuple[str, ...]:
    """The first line of a listing without a known header, where it looks like one; else empty.

    It does where it names no recording, all its cells differ, none of them recurs below, and none looks like
    a sentence or the id of a clip.
    """
    if len(body) < 2 or body[0].fault or len(body[0].cells) != count or audio >= count:
        return ()
    cells = tuple(cell.strip() for cell in body[0].cells)
    if len(set(cells)) < count or not all(map(_could_be_name, cells)):
        return ()
    if any(_names_recording(cell, recordings) for cell in cells):
        return ()
    others = [line.cells for line in body[1:] if not line.fault and len(line.cells) == count]
    recurs = any(cell == other[at].strip() for other in others for at, cell in enumerate(cells))
    return () if recurs or Ids(other[audio] for other in others).fits(cells[audio]) else cells


def _mark_heading(
    body: Sequence[Line],
    heading: Sequence[str],
    audio: int,
    places: Mapping[str, int],
    recordings: Recordings,
) -> list[Line]:
    """The lines; the first has a fault where all others name a recording, and it looks like a header."""
    names = [line.cells[audio].strip() for line in body[1:] if not line.fault and audio < len(line.cells)]
    if not names or any(recordings.find_listed(name) is None for name in names):
        return list(body)
    text = heading[places.get("text", places.get("normalised", audio))]
    reason = (
        f"{body[0].where}: {heading[audio]!r} is no recording, and all other lines name one; this line looks "
        f"like a header: {', '.join(heading)}. Expected a known name such as audio or text in a header; say "
        f'in params.yaml which column is what, as in ingest.columns: {{text: "{text}"}}'
    )
    return [replace(body[0], fault=ClipError("missing", reason)), *body[1:]]


def _could_be_name(cell: str) -> bool:
    """Whether a cell may name a column: it is short, and does not end as a sentence does."""
    return 0 < len(cell) <= _LONGEST_NAME and cell[-1] not in ".!?…"


def _is_stated(cells: Sequence[str]) -> bool:
    """Whether `ingest.columns` names one of these cells as a column."""
    keys = {columns.key_of(cell) for cell in cells}
    return any(columns.key_of(name) in keys for name in current().columns.values())


def _trim_header(header: Sequence[str]) -> Sequence[str]:
    """A header without the nameless columns at its end, which a delimiter too many makes."""
    while header and not header[-1].strip():
        header = header[:-1]
    return header


def _count_usual_cells(body: Sequence[Line]) -> int:
    """How many cells most lines have; of two as frequent, the count that comes first."""
    counts = Counter(len(line.cells) for line in body if not line.fault)
    return counts.most_common(1)[0][0] if counts else 0


def _mark_broken(body: Sequence[Line], count: int, audio: int, recordings: Recordings) -> Iterator[Line]:
    """Lines with the columns they should have; others have a fault, and so has what they may continue."""

    def first(line: Line) -> str:
        return line.cells[audio].strip() if audio < len(line.cells) else ""

    short = [len(line.cells) < count and not line.fault for line in body]
    ids = Ids(first(line) for line, is_short in zip(body, short, strict=True) if not is_short)
    starts = [
        not is_short or ids.fits(first(line)) or _names_recording(first(line), recordings)
        for line, is_short in zip(body, short, strict=True)
    ]
    return mark_halves([check_count(line, count) for line in body], short, starts)
