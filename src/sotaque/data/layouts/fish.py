"""Fish: one folder per speaker, <speaker>/.../<clip>.{wav,flac,mp3} with its transcript in <clip>.lab.

A <clip>.txt is as good, where there is no .lab; one without audio beside it is no transcript. So are
subtitles, Audacity's labels and Praat's TextGrid, whose segments are clips. Folders called train, dev and
test may lie around those of the speakers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import parts, sources, timed
from sotaque.data.layouts.recordings import AUDIO_FOLDERS, is_audio, piece_id, without_suffix
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "<speaker>/<clip>.wav (or .flac, .mp3) with <clip>.lab or <clip>.txt beside it"
TRANSCRIPT = ".lab"
OTHERS = (".txt", *timed.SUFFIXES)


def matches(folder: Path) -> bool:
    names = {name for name, _ in sources.walk(folder)}
    return any(
        name.endswith(TRANSCRIPT) or (is_audio(name) and _find_label(name, names) in names) for name in names
    )


def rows(folder: Path) -> Iterator[Row]:
    """One row per clip, one per transcript without audio, one per linked folder (not entered)."""
    entries = sources.walk(folder)
    names = {name for name, _ in entries}
    stems = {without_suffix(name) for name in names if is_audio(name)}
    others = {name.rpartition(".")[0]: name for name in names if not name.endswith((TRANSCRIPT, *OTHERS))}
    are_parts = _are_parts([name.split("/") for name in names if is_audio(name)])
    for name, is_link in entries:
        stem = name.removesuffix(TRANSCRIPT) if name.endswith(TRANSCRIPT) else without_suffix(name)
        if is_link:
            reason = "is a link to a folder; links are not followed, put the folder itself there"
            yield Row(name, name, name, "", fault=ClipError("outside-root", reason))
        elif name.endswith(TRANSCRIPT) and stem not in stems:
            yield _without_audio(name, stem, others.get(stem, ""))
        elif stem in stems and not name.endswith(TRANSCRIPT):
            part, speaker = _locate(name.split("/")[:-1], are_parts)
            label = _find_label(name, names)
            for row in _read_clips(folder, name, label, is_there=label in names):
                yield replace(row, speaker=row.speaker or speaker, part=part)


def _without_audio(label: str, stem: str, beside: str) -> Row:
    """A transcript without a recording. beside: another file of this name, "" for none."""
    if beside:
        fault = ClipError("format", f"{beside} is beside {label}, and is of no format that is read")
        return Row(label, stem, beside, "", fault=fault)
    return Row(label, stem, f"{stem}.wav", "", fault=ClipError("missing", f"{label} has no audio beside it"))


def _are_parts(paths: list[list[str]]) -> bool:
    """Whether the folders at the top are train and its like; one alone with clips in it may be anybody's."""
    tops = {path[0] for path in paths if len(path) > 1}
    return all(map(parts.part_of, tops)) and (len(tops) > 1 or all(len(path) > 2 for path in paths))


def _locate(inside: list[str], are_parts: bool) -> tuple[str, str]:
    """Part and speaker, by the folders that lead to a clip; a folder called `wavs` is no speaker."""
    part = parts.part_of(inside.pop(0)) if are_parts else ""
    people = inside if len(inside) < 2 else [name for name in inside if name.lower() not in AUDIO_FOLDERS]
    return part, next(iter(people), "")


def _read_clips(folder: Path, name: str, label: str, is_there: bool) -> Iterator[Row]:
    stem = without_suffix(name)
    try:
        if not is_there:
            raise ClipError("no-transcript", f"there is no {label}")
        text = sources.read_transcript(folder, label)
        segments = timed.read_segments(text, label)
    except ClipError as fault:
        yield Row(name, stem, name, "", fault=fault)
        return
    if segments is None:
        yield Row(label, stem, name, text)
        return
    for segment in segments:
        identifier = piece_id(stem, segment.start_s)
        where = f"{label}, at {segment.start_s:g} s"
        yield Row(
            where,
            identifier,
            name,
            segment.text,
            segment.speaker,
            start_s=segment.start_s,
            end_s=segment.end_s,
        )


def _find_label(name: str, names: set[str]) -> str:
    """The transcript of an audio file, whether it is there or not."""
    stem = without_suffix(name)
    return next(
        (stem + suffix for suffix in (TRANSCRIPT, *OTHERS) if stem + suffix in names), stem + TRANSCRIPT
    )
