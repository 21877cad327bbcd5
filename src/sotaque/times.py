"""How long each output took to make: beside the outputs, since no seal may hold anything of time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.jobs import Job

FOLDER = Path("scratch/times")


def path_of(job: Job) -> Path:
    return FOLDER / f"{job.out.as_posix().replace('/', '-')}-{job.name}.json"


@contextlib.contextmanager
def kept(job: Job, want: dict[str, Any]) -> Iterator[None]:
    """Add the seconds of this attempt to those of the earlier ones at the same output that were broken off.

    want: the part of the seal that is known before the job runs. An attempt that was killed outright leaves
    no seconds.
    """
    key, path, started, ended = files.sha256_of(want), path_of(job), time.monotonic(), False
    before = files.read_json(path) if path.exists() else {}
    earlier_s = before["seconds"] if before.get("key") == key and not before["ended"] else 0.0
    try:
        yield
        ended = True
    finally:
        seconds = earlier_s + time.monotonic() - started
        with contextlib.suppress(OSError):  # a full disk is reported by what stands inside
            files.write_json(path, {"key": key, "seconds": seconds, "ended": ended})


def seconds(job: Job) -> float | None:
    """What the output that lies there took; None where it was made elsewhere, or the record is of another."""
    if not (path_of(job).exists() and job.seal.exists()):
        return None
    sealed = {key: value for key, value in files.read_json(job.seal).items() if key != "files"}
    value = files.read_json(path_of(job))
    return value["seconds"] if value["ended"] and value["key"] == files.sha256_of(sealed) else None
