"""Progress of long loops: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
PLAIN_EVERY_S = 10.0
Advance = Callable[..., None]


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far we are; `total` where the items have no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with counter(label, total) as advance:
        for item in items:
            yield item
            advance()


@contextlib.contextmanager
def counter(label: str, total: int | None = None, start: int = 0) -> Iterator[Advance]:
    """Yield `advance(note="")`: call it once per item done; the note says how it is going."""
    show = _bar if sys.stderr.isatty() else _lines
    with show(label, total, start) as advance:
        yield advance


@contextlib.contextmanager
def _bar(label: str, total: int | None, start: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=start, note="")
        yield lambda note="": bar.update(task, advance=1, note=note)


@contextlib.contextmanager
def _lines(label: str, total: int | None, start: int) -> Iterator[Advance]:
    done, said_at, said = start, time.monotonic(), start
    of = f"/{total}" if total is not None else ""

    def advance(note: str = "") -> None:
        nonlocal done, said_at, said
        done += 1
        if done == total or time.monotonic() - said_at >= PLAIN_EVERY_S:
            print(f"{label}: {done}{of} {note}".rstrip(), file=sys.stderr, flush=True)
            said_at, said = time.monotonic(), done

    yield advance
    if done > said:
        print(f"{label}: {done}{of}", file=sys.stderr, flush=True)
