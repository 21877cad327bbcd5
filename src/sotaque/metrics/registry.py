"""What a metric declares, and what is computed from it: figures with intervals, paired differences.

A metric is a module of this package with a constant `METRIC`, and its name in METRICS of `__init__.py`.
Tables, metrics.json, headline.json, pages and MLflow are made from the columns that it declares.

A metric's rows, one per clip, are plain values. Each has `id`, `group`, `speaker` and `status` ("failed" for
a clip without speech) beside the metric's own fields, and perhaps `unit`: clips of the same unit were
measured together and are one observation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sotaque.metrics import METRICS, intervals
from sotaque.metrics.context import Context, Scores
from sotaque.metrics.intervals import Interval

Row = dict[str, Any]


@dataclass(frozen=True)
class Mean:
    """Mean over clips of a row's field.

    without_speech: what a clip without speech counts as. bounds: the least and the largest value there is.
    A field that is None in a clip with speech could not be measured: such a clip is left out.
    """

    field: str
    without_speech: float | None
    bounds: tuple[float, float] | None = None

    def terms(self, row: Row) -> tuple[float, float] | None:
        value = row[self.field]
        if value is None and row["status"] == "failed":
            value = self.without_speech
        return None if value is None else (float(value), 1.0)


@dataclass(frozen=True)
class Ratio:
    """Sum of one field over the sum of another, over all clips (micro average).

    counts_errors: the numerator counts errors among so many units, which are the same in every system.
    """

    numerator: str
    denominator: str
    counts_errors: bool = False

    def terms(self, row: Row) -> tuple[float, float] | None:
        return float(row[self.numerator]), float(row[self.denominator])


@dataclass(frozen=True)
class Column:
    """A figure of a metric.

    name: its key in metrics.json; `<name>_low` and `<name>_high` stand beside it.
    target: its key under `targets` in params.yaml. headline: it is in headline.json.
    in_tables: it has a place in tables and metrics.json; else it is only in the metric's own file.
    clip_field: the field of a row that a page shows beside each clip, if any.
    """

    name: str
    label: str
    average: Mean | Ratio
    better: Literal["lower", "higher"]
    unit: str = ""
    digits: int = 2
    target: str | None = None
    headline: bool = False
    in_tables: bool = True
    clip_field: str | None = None

    @property
    def sign(self) -> str:
        """Of a target: the value has to be below or above it."""
        return "<" if self.better == "lower" else ">"

    @property
    def fine_digits(self) -> int:
        """Beside a target: enough to see on which side of it a value is."""
        return max(3, self.digits)


@dataclass(frozen=True)
class Reading:
    """What an explanation may refer to. figures: the summary of the reference recordings by this metric.

    targets: of params.yaml. is_synthetic: the recordings are the demonstration's, spoken by espeak-ng.
    """

    figures: dict[str, Any]
    targets: Any
    is_synthetic: bool


@dataclass(frozen=True)
class Metric:
    """score: measures every clip of a system. describe: terms and details for a report, from Scores.method.

    explain: how to read the figures, in sentences.
    """

    columns: tuple[Column, ...]
    score: Callable[[Context], Scores]
    describe: Callable[[dict[str, Any]], list[tuple[str, str]]]
    explain: Callable[[Reading], str] = lambda _reading: ""


def get(name: str) -> Metric:
    return importlib.import_module(f"sotaque.metrics.{name}").METRIC


def columns() -> list[tuple[str, Column]]:
    """The name of the metric and the column, for every column that has a place in tables."""
    return [(name, column) for name in METRICS for column in get(name).columns if column.in_tables]


def summarize(metric: Metric, rows: Sequence[Row]) -> dict[str, Any]:
    """Every column's value over the rows, None where it has none, and its 95 % interval.

    `intervals` says of each column how its interval was made, or why there is none.
    """
    figures: dict[str, Any] = {"intervals": {}}
    for column in metric.columns:
        observed = _observe(column, rows)
        figures[column.name] = observed.value()
        if column.in_tables:
            found = observed.interval()
            figures |= {f"{column.name}_low": found.low, f"{column.name}_high": found.high}
            figures["intervals"][column.name] = found.method
    return figures


def difference(column: Column, rows: Sequence[Row], other_rows: Sequence[Row]) -> dict[str, Any]:
    """The value over `rows` minus that over `other_rows`, paired over the clips that both have.

    The dict has value, low, high, method (see Interval) and clips, the number of pairs. Pairing removes what
    makes a clip hard for both systems, so the interval is narrower than two separate ones suggest.
    """
    observed = _observe(column, rows, other_rows)
    found = observed.interval()
    return {
        "value": observed.value(),
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "clips": observed.clips,
    }


@dataclass(frozen=True)
class _Observations:
    """Independent observations of one side, or of two that are paired.

    numerators, denominators: a list per side. An observation is a clip that all sides have, or several clips
    that share a unit on some side. clips: how many there are in all.
    """

    average: Mean | Ratio
    numerators: list[list[float]]
    denominators: list[list[float]]
    speakers: list[str]
    clips: int

    def value(self) -> float | None:
        """The figure, or the difference of two."""
        if not all(map(sum, self.denominators)):
            return None
        values = [sum(n) / sum(d) for n, d in zip(self.numerators, self.denominators, strict=True)]
        return values[0] if len(values) == 1 else values[0] - values[1]

    def interval(self) -> Interval:
        if self.value() is None:
            return Interval(None, None, "no interval: nothing was measured")
        if isinstance(self.average, Mean) and len(self.speakers) == self.clips:
            return self._mean_interval(self.average.bounds)
        if isinstance(self.average, Ratio) and self.average.counts_errors:
            return self._error_rate_interval()
        sides = [side for pair in zip(self.numerators, self.denominators, strict=True) for side in pair]
        make = intervals.ratio_interval if len(sides) == 2 else intervals.paired_ratio_interval
        return make(*sides, self.speakers)

    def _mean_interval(self, bounds: tuple[float, float] | None) -> Interval:
        if len(self.numerators) == 1:
            return intervals.mean_interval(*self.numerators, self.speakers, bounds)
        return intervals.paired_mean_interval(*self.numerators, self.speakers)

    def _error_rate_interval(self) -> Interval:
        totals = self.denominators[0]
        if len(self.numerators) == 1:
            return intervals.error_rate_interval(*self.numerators, totals, self.speakers)
        return intervals.paired_error_rate_interval(*self.numerators, totals, self.speakers)


def _observe(column: Column, *sides: Sequence[Row]) -> _Observations:
    by_id = [{row["id"]: row for row in rows} for rows in sides]
    known = [{name for name, row in side.items() if column.average.terms(row)} for side in by_id]
    shared = [name for name in by_id[0] if all(name in names for names in known)]
    units = _units([[side[name] for name in shared] for side in by_id])
    sums = [
        [np.sum([column.average.terms(side[name]) for name in unit], axis=0) for unit in units]
        for side in by_id
    ]
    return _Observations(
        average=column.average,
        numerators=[[float(above) for above, _ in side] for side in sums],
        denominators=[[float(below) for _, below in side] for side in sums],
        speakers=[by_id[0][unit[0]]["speaker"] for unit in units],
        clips=len(shared),
    )


def _units(sides: Sequence[Sequence[Row]]) -> list[list[str]]:
    """The ids of the rows, those together that share a unit on any side, directly or through others."""
    unit_of = {row["id"]: row["id"] for row in sides[0]}
    for rows in sides:
        first: dict[str, str] = {}
        for row in rows:
            joined = first.setdefault(row.get("unit", row["id"]), unit_of[row["id"]])
            mine = unit_of[row["id"]]
            if mine != joined:
                unit_of = {name: joined if unit == mine else unit for name, unit in unit_of.items()}
                first = {key: joined if unit == mine else unit for key, unit in first.items()}
    members: dict[str, list[str]] = {}
    for name, unit in unit_of.items():
        members.setdefault(unit, []).append(name)
    return list(members.values())
