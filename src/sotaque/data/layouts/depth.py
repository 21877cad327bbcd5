"""Which folder is the corpus: the one that an archive makes is entered, that of a speaker is not."""

from __future__ import annotations

import re
from pathlib import Path

from sotaque.data.layouts import sources
from sotaque.data.layouts.parts import part_of
from sotaque.data.layouts.recordings import is_audio

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".bz2", ".xz", ".7z", ".rar")
BESIDE = (*ARCHIVES, ".md5", ".sha1", ".sha256", ".torrent", ".dvc")
_SESSION = re.compile(
    r"(s[ea]ss[aã]?o?|sesi[oó]n|session|dia|day|parte?|take|toma(da)?|dis[ck]o?|cd|chapter|cap(i|í)?(tulo)?|"
    r"livro|libro|book|lote|batch|vol(ume)?|aula|lesson|grava[cç][aã]o|grabaci[oó]n|recording)[\W_]*\d*|"
    r"\d{4}[-_.]\d\d([-_.]\d\d)?|\d{8}",
    re.IGNORECASE,
)
_CORPUS = re.compile(
    r"corpus|corpora|data ?set|dados|datos|data|speech|voices?|vozes|voces|tts|asr|archive|\d\.\d",
    re.IGNORECASE,
)


def is_session(name: str) -> bool:
    """Whether a folder is called as one of several of the same kind: `dia 1`, `part2`, `2024-05-01`."""
    return _SESSION.fullmatch(name) is not None


def only_folder(folder: Path) -> Path | None:
    """The one folder in this one, where beside it are only archives and files for people, such as README."""
    seen = [
        path
        for path in sources.entries(folder)
        if not sources.is_accompanying(path.name) and not path.name.lower().endswith(BESIDE)
    ]
    return seen[0] if len(seen) == 1 and seen[0].is_dir() and not seen[0].is_symlink() else None


def is_wrapper(inner: Path, is_fish: bool) -> bool:
    """Whether the corpus is `inner`, though the folder around it has a layout as well.

    Only in fish does the depth of a folder mean something: the first one is the speaker. A wrapper holds
    several speakers, so several folders that are not called as sessions are, and no clip itself.
    """
    if not is_fish or part_of(inner.name) or any(is_audio(path.name) for path in sources.entries(inner)):
        return False
    below = sources.folders(inner)
    if all(is_session(path.name) for path in below):
        return False
    return len(below) > 1 or bool(_CORPUS.search(inner.name)) or is_wrapper(below[0], is_fish)
