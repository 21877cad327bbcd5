"""What every corpus layout gives: rows, one per clip, nothing about them checked yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sotaque.errors import ClipError


@dataclass(frozen=True, slots=True)
class Row:
    """One clip as its corpus describes it.

    where: the file (and line) that says so, for messages. id: as in the corpus, any characters.
    audio: path as written there, relative to the corpus folder.
    start_s, end_s: the piece of the audio that the clip is; None: to its end.
    unpacked: where the layout itself has put the audio, when it came inside another file.
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
    start_s: float = 0.0
    end_s: float | None = None
    unpacked: Path | None = None
    fault: ClipError | None = None
