"""How the listings of one corpus are read, and what they were taken for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

STATED = "ingest.columns says so"  # the reason of a Column


@dataclass(frozen=True)
class Column:
    """One column of a table or key of a record.

    number: from 1. name: from the header, "" without one. field: what it was read as, "" when it is ignored.
    reason: why.
    """

    number: int
    name: str
    field: str
    reason: str

    def __str__(self) -> str:
        name = f"{self.number} ({self.name!r})" if self.name else str(self.number)
        return f"column {name} {'is the ' + self.field if self.field else 'is ignored'}: {self.reason}"


@dataclass(frozen=True)
class Listing:
    """file: relative to the corpus. delimiter: of its columns, "" where it is no table.

    heading: the cells of a first line that is read as a clip, but looks like a header.
    """

    file: str
    rows: int
    delimiter: str
    quoted: bool
    columns: tuple[Column, ...]
    heading: tuple[str, ...] = ()


@dataclass
class Reading:
    """How listings are read, and what they were.

    encoding: of listings without a byte order mark. columns: field -> name or number, as params.yaml says.
    listings: what was found, by file. opened: paths of all files that were read for their text. inside: what
    leads from the corpus folder to the one that is being read.
    """

    encoding: str = "utf-8"
    columns: Mapping[str, str] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    cache: dict[str, object] = field(default_factory=dict)
    inside: str = ""

    def note(self, listing: Listing) -> None:
        listing = replace(listing, file=self.inside + listing.file)
        self.listings[listing.file] = listing

    @contextlib.contextmanager
    def below(self, inside: str) -> Iterator[None]:
        """Listings that are noted in the block lie in this folder of the corpus."""
        self.inside = inside
        try:
            yield
        finally:
            self.inside = ""


_CURRENT: ContextVar[Reading | None] = ContextVar("reading", default=None)


def current() -> Reading:
    """The reading that is under way; outside of one, a new one with the defaults."""
    return _CURRENT.get() or Reading()


@contextlib.contextmanager
def reading(encoding: str = "utf-8", columns: Mapping[str, str] | None = None) -> Iterator[Reading]:
    """All listings that are read inside the block are read like this, and noted."""
    active = Reading(encoding, columns or {})
    token = _CURRENT.set(active)
    try:
        yield active
    finally:
        _CURRENT.reset(token)
