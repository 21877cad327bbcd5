"""The recordings of a corpus, and which of them a path in a listing means."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sotaque.audio import SUFFIXES as AUDIO_SUFFIXES
from sotaque.data.layouts import sources
from sotaque.data.layouts.reading import current
from sotaque.data.layouts.row import Row

AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "mp3", "flac", "recordings")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_SAMPLE = 500


def without_suffix(name: str) -> str:
    return name[: name.rindex(".")] if name.lower().endswith(AUDIO_SUFFIXES) else name


def is_audio(name: str) -> bool:
    """Whether a name ends as those of audio files do."""
    return without_suffix(name) != name


def id_of(audio: str) -> str:
    """A clip's id by its path: no suffix, and no leading folder that only says that audio is in it."""
    stem = without_suffix(audio)
    head, _, rest = stem.partition("/")
    return rest if rest and head.lower() in AUDIO_FOLDERS else stem


def piece_id(recording: str, start_s: float) -> str:
    """The id of a piece: its start in milliseconds is added, unless it begins where the recording does."""
    return f"{recording}-{round(start_s * 1000):08d}" if start_s > 0 else recording


class Recordings:
    """All files of a corpus, by their paths relative to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files = {name for name, is_link in sources.walk(folder) if not is_link}
        self.paths = sorted(name for name in self._files if is_audio(name))
        self._alike: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._alike[_folded(without_suffix(path))].append(path)
        self._roots = tuple(f"{root.as_posix()}/" for root in (folder.absolute(), folder.resolve()))

    def find(self, written: str) -> str | None:
        """The file that a path means, None when there is none.

        As written; or with `/` for `\\`, in wavs/, audio/ ..., without the path of the corpus, in another
        Unicode form or case, with another suffix of audio, where only that is there; last, through links.
        """
        found = self.find_listed(written)
        if found or not written:
            return found
        linked = (name for name in self._names(written) if not _ABSOLUTE.match(name))
        return next((name for name in linked if sources.is_file(self.folder / name)), None)

    def find_listed(self, written: str) -> str | None:
        """As `find`, without looking through links."""
        if not written or written in self._files:
            return written or None
        names = self._names(written)
        exact = next((name for name in names if name in self._files), None)
        return exact or next(filter(None, map(self._find_alike, names)), None)

    def _names(self, written: str) -> list[str]:
        """Where the file of this path may lie."""
        forms = self._forms(written)
        return [f"{at}{form}" for at in ("", *(f"{name}/" for name in AUDIO_FOLDERS)) for form in forms]

    def _forms(self, written: str) -> list[str]:
        forms = []
        for name in (written, written.replace("\\", "/")):
            for root in self._roots:
                name = name.removeprefix(root)
            forms.append(re.sub(r"^(\./+)+", "", re.sub("//+", "/", name)))
        return list(dict.fromkeys(forms))

    def _find_alike(self, name: str) -> str | None:
        """The recording whose name differs in Unicode form, case or suffix alone; None where two do."""
        paths = self._alike.get(_folded(without_suffix(name)))
        if not paths:
            return None
        stems = {_composed(without_suffix(path)) for path in paths}
        wanted = _composed(without_suffix(name))
        if wanted not in stems and len(stems) != 1:
            return None
        stem = wanted if wanted in stems else stems.pop()
        same = [path for path in paths if _composed(without_suffix(path)) == stem]
        suffix = _suffix(name).lower()
        return min(
            same, key=lambda p: (_suffix(p).lower() != suffix, AUDIO_SUFFIXES.index(_suffix(p).lower()), p)
        )

    def of_stem(self, stem: str) -> str:
        """The file of this stem, `<stem>.wav` when there is none."""
        names = [f"{stem}{suffix}" for suffix in AUDIO_SUFFIXES]
        exact = next((name for name in names if name in self._files), None) or self._find_alike(stem)
        linked = (name for name in names if sources.is_file(self.folder / name))
        return exact or next(linked, names[0])

    def prefix(self, written: Sequence[str]) -> str:
        """What paths from another machine begin with before the part that is in the corpus; "" for none.

        Most of them must mean a file without it, so that no speaker's clip is taken for another's.
        """
        sample = [path for path in written[:: max(1, len(written) // _SAMPLE)] if path]
        lost = [path for path in sample if ".." not in path and self.find(path) is None]
        if 2 * len(lost) < len(sample):
            return ""
        counts = Counter(filter(None, map(self._find_lead, lost)))
        [(lead, count)] = counts.most_common(1) or [("", 0)]
        return lead if 2 * count >= len(lost) else ""

    def _find_lead(self, path: str) -> str:
        parts = path.replace("\\", "/").split("/")
        for at in range(1, len(parts)):
            if all(parts[at:]) and self.find("/".join(parts[at:])):
                return "/".join(parts[:at]) + "/"
        return ""


def listings(folder: Path, suffixes: tuple[str, ...], is_one: Callable[[Path], bool]) -> list[Path]:
    """The files that `is_one` says are listings: at the top, or else in folders that hold no recordings."""
    tops = {path.split("/")[0] for path in of(folder).paths}
    apart = [inner for inner in sources.folders(folder) if tops and inner.name not in tops]
    for places in ([folder], apart):
        paths = [path for place in places for path in sources.entries(place) if sources.is_file(path)]
        found = [path for path in paths if path.suffix.lower() in suffixes and is_one(path)]
        if found:
            return found
    return []


def of(folder: Path) -> Recordings:
    """The recordings of a corpus, looked for once in a reading."""
    cache = current().cache
    key = f"recordings {folder}"
    if key not in cache:
        cache[key] = Recordings(folder)
    return cache[key]  # type: ignore[return-value]


def resolve(rows: Iterable[Row], recordings: Recordings, at: str = "") -> Iterator[Row]:
    """Rows with the paths of their recordings, and with an id where their listing gives none.

    at: a folder in which the paths may begin as well, such as "clips/".
    """
    every = list(rows)
    prefix = recordings.prefix([row.audio for row in every if not row.unpacked])
    for row in every:
        if row.unpacked:
            yield add_id(row, row.audio)
            continue
        path = recordings.find(at + row.audio) if at and row.audio else None
        path = path or recordings.find(row.audio)
        slashed = row.audio.replace("\\", "/")
        foreign = path is None and bool(prefix) and slashed.startswith(prefix)
        if foreign:
            path = recordings.find(slashed.removeprefix(prefix))
        is_own = path is None or not (foreign or _ABSOLUTE.match(slashed))
        yield add_id(
            replace(row, audio=path or at + row.audio if row.audio else ""), row.audio if is_own else path
        )


def add_id(row: Row, audio: str | None) -> Row:
    """The row with an id, by the path of its audio where it has none."""
    if row.id:
        return row
    return replace(row, id=piece_id(id_of(audio), row.start_s) if audio else row.where)


def _suffix(path: str) -> str:
    return path[len(without_suffix(path)) :]


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()
