"""Checksums of files, remembered with each file's stat, so that an unchanged file is read once.

A stat is size, time of change of content and of inode (mtime, ctime), and inode. No program can set the
ctime, so an edit that puts the mtime back is seen too. The memory only spares time: when it is lost or
damaged, all files are read again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sotaque import files

# Two writes within one tick of the file system's clock leave the same times (FAT: 2 s, ext4: 4 ms). So a
# file that changed so recently is not remembered.
TICK_NS = 2_000_000_000


def read_stat(path: str | Path) -> tuple[int, int, int, int]:
    """Size, mtime and ctime in ns, and inode: while none of them changes, the content does not."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class Memory:
    """The remembered checksums of one folder or output, by name; `save` writes them down."""

    def __init__(self, path: Path):
        self._path = path
        self._known = {name: entry for name, entry in files.read_record(path).items() if _is_entry(entry)}
        self._changed = False

    def sha256(self, name: str, path: str | Path) -> str:
        """The checksum of the file at `path`; it is read only when its stat is not the remembered one."""
        stat = read_stat(path)
        known = self._known.get(name)
        if known is not None and known[:4] == list(stat):
            return known[4]
        _, modified_ns, changed_ns, _ = stat
        is_settled = time.time_ns() - max(modified_ns, changed_ns) > TICK_NS
        checksum = files.sha256(Path(path))
        if is_settled:
            self._known[name] = [*stat, checksum]
            self._changed = True
        elif known is not None:
            del self._known[name]
            self._changed = True
        return checksum

    def forget_others(self, names: Iterable[str]) -> None:
        """Keep only what is remembered of these names."""
        wanted = set(names)
        gone = self._known.keys() - wanted
        for name in gone:
            del self._known[name]
        self._changed |= bool(gone)

    def save(self) -> None:
        if self._changed:
            files.write_record(self._path, self._known)
            self._changed = False


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 5
        and all(isinstance(number, int) for number in entry[:4])
        and isinstance(entry[4], str)
    )
