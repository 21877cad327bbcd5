"""VCTK: audio in wav48*/<speaker>/ and texts in txt/<speaker>/, folders that mirror each other.

Two microphones recorded most clips of version 0.92 (`_mic1`, `_mic2`): the first is taken, the second where
it is alone. speaker-info.txt names gender and accent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sotaque.data.layouts import table
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError

LOOKS_FOR = "wav*/<speaker>/<clip>.wav (or .flac) and txt/<speaker>/<clip>.txt"
TEXTS, SPEAKERS = "txt", "speaker-info.txt"
_MICROPHONES = ("_mic1", "_mic2")


def matches(folder: Path) -> bool:
    return any(folder.glob(f"{TEXTS}/*/*.txt")) and any(_recordings(folder))


def rows(folder: Path) -> Iterator[Row]:
    """One row per clip of which there is a text or a recording."""
    known = _speakers(folder)
    texts = {(path.parent.name, path.stem): path for path in folder.glob(f"{TEXTS}/*/*.txt")}
    sounds: dict[tuple[str, str], str] = {}
    for path in sorted(_recordings(folder)):
        stem = table.without_suffix(path.name)
        clip = next((stem.removesuffix(mic) for mic in _MICROPHONES if stem.endswith(mic)), stem)
        sounds.setdefault((path.parent.name, clip), path.relative_to(folder).as_posix())
    for speaker, clip in sorted(texts.keys() | sounds.keys()):
        gender, accent = known.get(speaker, ("", ""))
        where = f"{TEXTS}/{speaker}/{clip}.txt"
        sound = sounds.get((speaker, clip), "")
        text, fault = _text(folder, texts.get((speaker, clip)), where)
        if not sound:
            fault = ClipError("missing", f"{where} has no recording under wav*/{speaker}/")
        yield Row(where, clip, sound, text, speaker, accent=accent, gender=gender, fault=fault)


def _recordings(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed."""
    places = (
        p for p in folder.glob("wav*/*") if p.is_dir() and not (p.is_symlink() or p.parent.is_symlink())
    )
    return (
        path for place in places for path in place.iterdir() if table.without_suffix(path.name) != path.name
    )


def _text(folder: Path, path: Path | None, where: str) -> tuple[str, ClipError | None]:
    if path is None:
        return "", ClipError("no-transcript", f"there is no {where}")
    if not path.resolve().is_relative_to(folder.resolve()):
        return "", ClipError("outside-root", f"{where} links out of the corpus")
    text = table.decode(path.read_bytes(), where)
    return text, None if table.readable(text) else ClipError("encoding", f"{where}: {table.not_encoded()}")


def _speakers(folder: Path) -> dict[str, tuple[str, str]]:
    """Speaker -> gender, accent; early releases list `225` for the folder p225."""
    path, found = folder / SPEAKERS, {}
    for line in table.lines(path, table.WHOLE) if path.is_file() else ():
        name, _, gender, accent = (*line.cells[0].split(), "", "", "", "")[:4]
        known = (gender.lower(), accent.strip('"'))
        found |= {name: known, f"p{name}": known}
    return found
