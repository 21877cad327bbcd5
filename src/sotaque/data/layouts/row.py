"""What every corpus layout gives: rows, one per clip, nothing about them checked yet."""

from __future__ import annotations

from dataclasses import dataclass

from sotaque.errors import ClipError


@dataclass(frozen=True)
class Row:
    """One clip as its corpus describes it.

    where: the file (and line) that says so, for messages. id: as in the corpus, any characters.
    audio: path as written there, relative to the corpus folder.
    fault: why the layout itself could not read this row; it becomes a reject.
    """

    where: str
    id: str
    audio: str
    text: str
    speaker: str = ""
    language: str = ""
    accent: str = ""
    gender: str = ""
    part: str = ""
    group: str = ""
    fault: ClipError | None = None
