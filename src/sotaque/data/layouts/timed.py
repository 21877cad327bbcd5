"""Transcripts with times: Audacity's labels, subtitles (SRT, WebVTT), Praat's TextGrid.

Each of their segments is a clip of its own, cut out of the recording. Alignments of phones or words are no
transcripts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sotaque.data.layouts import sources
from sotaque.data.layouts.table import LONGEST_S
from sotaque.errors import ClipError

SUFFIXES = (".srt", ".vtt", ".TextGrid")
_SECONDS = r"\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?"
_LABEL = re.compile(rf"[ \ufeff]*({_SECONDS})\t({_SECONDS})(?:\t(.*))?|\s*(\d+\.\d+) +(\d+\.\d+) +(.*)")
_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_ARROW = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_HTS = re.compile(r"\s*(\d+)\s+(\d+)\s+\S+(?:\s+\S+)?\s*|\s*\S+\^\S+-\S+\+\S+=\S+\s*")
_HTS_TICKS = 100_000  # of 100 ns: no utterance is shorter than 10 ms
_PRAAT = re.compile(r'File type\s*=\s*"ooTextFile', re.IGNORECASE)
_INTERVAL = re.compile(
    rf'xmin\s*=\s*({_SECONDS})\s*xmax\s*=\s*({_SECONDS})\s*text\s*=\s*"((?:[^"]|"")*)"', re.IGNORECASE
)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_OTHERS = ('{"', "{\\rtf", "<?xml", "<!DOCTYPE", "<html")
_FEWEST_WORDS = 1.5  # of an utterance, on average: less is an alignment of words or phones


@dataclass(frozen=True)
class Segment:
    start_s: float
    end_s: float
    text: str
    speaker: str = ""


def read_segments(text: str, where: str) -> list[Segment] | None:
    """The segments of a timed transcript, in their order; None for plain text.

    Raises ClipError "not-a-transcript" for alignments of phones or words, and for times that are none.
    """
    lines = [line for line in sources.split(text) if line.strip()]
    if not lines:
        return None
    if _PRAAT.search(lines[0]):
        return _read_textgrid(text, where)
    if lines[0].strip().startswith("WEBVTT") or any(map(_ARROW.fullmatch, lines[:3])):
        return _check_segments(list(_read_cues(sources.split(text))), where)
    labels = [_LABEL.fullmatch(line) for line in lines if not line.startswith("\\")]  # `\`: its frequencies
    if labels and all(labels):
        cells = [m.groups("")[:3] if m[1] else m.groups("")[3:] for m in labels if m]
        found = [Segment(_parse_number(start), _parse_number(end), words) for start, end, words in cells]
        return _check_segments(found, where)
    if _is_alignment(lines):
        raise ClipError("not-a-transcript", f"{where}: it is an alignment of phones, as HTS writes it")
    if lines[0].strip() == "{" or lines[0].lstrip().startswith(_OTHERS):
        raise ClipError("not-a-transcript", f"{where}: it begins {lines[0].strip()[:40]!r}")
    return None


def _is_alignment(lines: list[str]) -> bool:
    """Whether every line is a phone of an HTS label: `start end phone` in 100 ns, one after the other."""
    matches = [_HTS.fullmatch(line) for line in lines]
    if not all(matches):
        return False
    times = [(int(m[1]), int(m[2])) for m in matches if m and m[1]]
    follows = all(first[1] <= second[0] for first, second in itertools.pairwise(times))
    return not times or (follows and all(a < b for a, b in times) and times[-1][1] >= _HTS_TICKS)


def _read_cues(lines: list[str]) -> Iterator[Segment]:
    """Of SRT and WebVTT: a line with the times, the lines of the text, a blank line."""
    for at, line in enumerate(lines):
        match = _ARROW.fullmatch(line)
        if not match:
            continue
        after = itertools.takewhile(lambda words: words.strip(), lines[at + 1 :])
        text = " ".join(itertools.takewhile(lambda words: not _ARROW.fullmatch(words), after))
        voice = _VOICE.search(text)
        text = re.sub(r"</?v[^>]*>|<\d\d:[^>]*>|\{\\[^}]*\}", "", text)
        start_s, end_s = _parse_clock(match.groups()[:4]), _parse_clock(match.groups()[4:])
        yield Segment(start_s, end_s, text, voice[1] if voice else "")


def _read_textgrid(text: str, where: str) -> list[Segment]:
    """The first tier of intervals whose labels are utterances."""
    tiers = re.split(r'class\s*=\s*"', text)[1:]
    for tier in tiers:
        found = [
            Segment(_parse_number(m[1]), _parse_number(m[2]), m[3].replace('""', '"'))
            for m in _INTERVAL.finditer(tier)
            if m[3].strip()
        ]
        words = sum(len(segment.text.split()) for segment in found)
        if found and words >= _FEWEST_WORDS * len(found):
            return _check_segments(found, where)
    reason = f"{where}: a TextGrid without a tier of utterances (phones, words or points alone, or binary)"
    raise ClipError("not-a-transcript", reason)


def _check_segments(found: list[Segment], where: str) -> list[Segment]:
    for segment in found:
        if not 0 <= segment.start_s <= segment.end_s < LONGEST_S:
            times = f"{segment.start_s:g} s to {segment.end_s:g} s"
            raise ClipError("not-a-transcript", f"{where}: a segment from {times}")
    if not found:
        raise ClipError("not-a-transcript", f"{where}: subtitles without a cue")
    return found


def _parse_clock(groups: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


def _parse_number(word: str) -> float:
    return float(word.replace(",", "."))
