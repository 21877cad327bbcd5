"""Stop on request: a signal leaves a note, and the work looks at it wherever nothing is half done.

Clusters send SIGTERM or SIGUSR1 some time before they kill; a person presses Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_noted: signal.Signals | None = None


class Requested(BaseException):
    """The work is asked to stop; its text is the signal's name."""


@contextlib.contextmanager
def on_request() -> Iterator[None]:
    """Inside the block SIGTERM, SIGUSR1 and Ctrl-C are noted for `check`; a second Ctrl-C ends at once."""
    global _noted
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        _noted = None
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(number: int, _frame: object) -> None:
    global _noted
    if _noted == number == signal.SIGINT:
        raise KeyboardInterrupt
    _noted = signal.Signals(number)


def check(highest: Callable[[int], int] = int) -> None:
    """Raise Requested when a signal has come since the block of `on_request` began.

    highest: of a number that each of several processes has, so that a signal to one of them stops all.
    """
    noted = highest(_noted or 0)
    if noted:
        raise Requested(signal.Signals(noted).name)
