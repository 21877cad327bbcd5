"""VCTK: audio in wav48*/<speaker>/ and texts in txt/<speaker>/, folders that mirror each other.

Two microphones recorded most clips of version 0.92 (`_mic1`, `_mic2`): the first is taken, the second where
it is alone. speaker-info.txt names gender and accent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sotaque.data.layouts import sources, table
from sotaque.data.layouts.recordings import is_audio, without_suffix
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "wav*/<speaker>/<clip>.wav (or .flac) and txt/<speaker>/<clip>.txt"
TEXTS, SPEAKERS = "txt", "speaker-info.txt"
_MICROPHONES = ("_mic1", "_mic2")


def matches(folder: Path) -> bool:
    return any(_texts(folder)) and any(_recordings(folder))


def rows(folder: Path) -> Iterator[Row]:
    """One row per clip of which there is a text or a recording."""
    known = _speakers(folder)
    texts = {(path.parent.name, path.stem): path for path in _texts(folder)}
    sounds: dict[tuple[str, str], str] = {}
    for path in sorted(_recordings(folder)):
        stem = without_suffix(path.name)
        clip = next((stem.removesuffix(mic) for mic in _MICROPHONES if stem.endswith(mic)), stem)
        sounds.setdefault((path.parent.name, clip), path.relative_to(folder).as_posix())
    for speaker, clip in sorted(texts.keys() | sounds.keys()):
        gender, accent = known.get(speaker, ("", ""))
        where = f"{TEXTS}/{speaker}/{clip}.txt"
        sound = sounds.get((speaker, clip), "")
        text, fault = _text(folder, where, (speaker, clip) in texts)
        if not sound:
            fault = ClipError("missing", f"{where} has no recording under wav*/{speaker}/")
        yield Row(where, clip, sound, text, speaker, accent=accent, gender=gender, fault=fault)


def _texts(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob(f"{TEXTS}/*/*.txt") if not sources.is_junk(path.name))


def _recordings(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed."""
    places = (
        p for p in folder.glob("wav*/*") if p.is_dir() and not (p.is_symlink() or p.parent.is_symlink())
    )
    return (path for place in places for path in sources.entries(place) if is_audio(path.name))


def _text(folder: Path, where: str, is_there: bool) -> tuple[str, ClipError | None]:
    if not is_there:
        return "", ClipError("no-transcript", f"there is no {where}")
    try:
        return sources.read_transcript(folder, where), None
    except ClipError as fault:
        return "", fault


def _speakers(folder: Path) -> dict[str, tuple[str, str]]:
    """Speaker -> gender, accent; early releases list `225` for the folder p225."""
    path, found = folder / SPEAKERS, {}
    for line in table.lines(path, table.WHOLE) if sources.is_file(path) else ():
        name, _, gender, accent = (*line.cells[0].split(), "", "", "", "")[:4]
        known = (gender.lower(), accent.strip('"'))
        found |= {name: known, f"p{name}": known}
    return found
