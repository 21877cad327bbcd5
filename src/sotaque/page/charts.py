"""Line charts and histograms as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
MOST_POINTS = 200
LOWEST_BAR = 2.0


@dataclass(frozen=True)
class Series:
    """A line through points (x, y). style: 0..3, a colour and a dash of the style sheet."""

    label: str
    points: Sequence[tuple[float, float]]
    style: int
    dots: bool = False


@dataclass(frozen=True)
class Level:
    """A straight dashed line: horizontal at y, or vertical at x."""

    label: str
    y: float | None = None
    x: float | None = None
    style: int = 3


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, that enclose low and high."""
    if high <= low:
        high = low + 1
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 200 points: the means of equal runs of a longer curve."""
    size = math.ceil(len(points) / MOST_POINTS) if points else 1
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def line_chart(
    title: str, x_label: str, y_label: str, series: Sequence[Series], levels: Sequence[Level] = ()
) -> Markup:
    """The chart with axes, units and a legend below; empty when no series has a point."""
    xs = [x for s in series for x, _ in s.points] + [level.x for level in levels if level.x is not None]
    ys = [y for s in series for _, y in s.points] + [level.y for level in levels if level.y is not None]
    if not any(s.points for s in series):
        return Markup("")
    frame = _Frame(ticks(min(xs), max(xs)), ticks(min(ys), max(ys)))
    body = Markup("").join(
        [frame.axes(x_label, y_label), *(frame.level(v) for v in levels), *(frame.line(s) for s in series)]
    )
    legend = Markup("").join(_legend(s.label, s.style, "") for s in series if s.points)
    return _figure(title, body, legend + _legends(levels))


def histogram(
    title: str,
    x_label: str,
    values: np.ndarray,
    bins: int,
    levels: Sequence[Level] = (),
    y_label: str = "clips",
) -> Markup:
    """How many of the finite values (N,), of which two differ, fall into each of equal bins.

    A bin that is not empty can be seen, however few are in it. Levels far from all values are told in the
    legend, not drawn.
    """
    counts, edges = np.histogram(values, bins)
    span = edges[-1] - edges[0]
    near = [v for v in levels if edges[0] - span / 2 <= v.x <= edges[-1] + span / 2]
    xs = [edges[0], edges[-1], *(level.x for level in near)]
    frame = _Frame(ticks(min(xs), max(xs)), ticks(0, int(counts.max())))
    bars = Markup("").join(
        frame.bar(*ends, int(n)) for ends, n in zip(itertools.pairwise(edges), counts, strict=True) if n
    )
    body = frame.axes(x_label, y_label) + bars + Markup("").join(frame.level(v) for v in near)
    far = Markup("").join(Markup("<li>{}, far off</li>").format(v.label) for v in levels if v not in near)
    return _figure(title, body, _legends(near) + far)


def _legends(levels: Sequence[Level]) -> Markup:
    return Markup("").join(_legend(v.label, v.style, " level") for v in levels)


def _figure(title: str, body: Markup, legend: Markup) -> Markup:
    return Markup(
        '<figure class="chart"><figcaption>{0}</figcaption>'
        '<svg viewBox="0 0 {1} {2}" role="img" aria-label="{0}">{3}</svg><ul class="legend">{4}</ul></figure>'
    ).format(title, WIDTH, HEIGHT, body, legend)


def _legend(label: str, style: int, kind: str) -> Markup:
    return Markup(
        '<li><svg viewBox="0 0 28 8" aria-hidden="true">'
        '<line x1="0" x2="28" y1="4" y2="4" class="s{}{}"/></svg>{}</li>'
    ).format(style, kind, label)


def _text(words: str, anchor: str, transform: str) -> Markup:
    return Markup('<text transform="{}" text-anchor="{}">{}</text>').format(transform, anchor, words)


class _Frame:
    """The plane: from data to pixels."""

    def __init__(self, x_ticks: list[float], y_ticks: list[float]):
        self.x_ticks, self.y_ticks = x_ticks, y_ticks

    def x(self, value: float) -> float:
        share = (value - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def axes(self, x_label: str, y_label: str) -> Markup:
        grid = Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>')
        middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts = [grid.format(LEFT, WIDTH - RIGHT, self.y(value)) for value in self.y_ticks]
        parts += [_text(f"{v:g}", "end", f"translate({LEFT - 8} {self.y(v) + 4})") for v in self.y_ticks]
        parts += [
            _text(f"{v:g}", "middle", f"translate({self.x(v)} {HEIGHT - BOTTOM + 18})") for v in self.x_ticks
        ]
        parts.append(_text(x_label, "middle", f"translate({middle_x} {HEIGHT - 8})"))
        parts.append(_text(y_label, "middle", f"translate(14 {middle_y}) rotate(-90)"))
        return Markup("").join(parts)

    def level(self, level: Level) -> Markup:
        if level.y is not None:
            ends = LEFT, WIDTH - RIGHT, self.y(level.y), self.y(level.y)
        else:
            ends = self.x(level.x), self.x(level.x), TOP, HEIGHT - BOTTOM
        template = '<line class="s{} level" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        return Markup(template).format(level.style, *ends)  # noqa: S704 - a constant template

    def bar(self, low: float, high: float, count: int) -> Markup:
        left, right, bottom = self.x(low), self.x(high), self.y(0)
        height = max(LOWEST_BAR, bottom - self.y(count))
        template = '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        return Markup(template).format(left, bottom - height, right - left, height)  # noqa: S704 - a constant

    def line(self, series: Series) -> Markup:
        points = thinned(series.points)
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        drawn = Markup('<polyline class="s{}" points="{}"/>').format(series.style, path)
        if series.dots or len(points) == 1:
            drawn += Markup("").join(
                Markup('<circle class="s{} dot" cx="{}" cy="{}" r="3.5"/>').format(
                    series.style, self.x(x), self.y(y)
                )
                for x, y in points
            )
        return drawn
