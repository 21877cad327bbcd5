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
    before = files.read_record(path)
    earlier_s = _seconds_of(before) if before.get("key") == key and not before.get("ended") else 0.0
    try:
        yield
        ended = True
    finally:
        seconds = earlier_s + time.monotonic() - started
        files.write_record(path, {"key": key, "seconds": seconds, "ended": ended})


def seconds(job: Job) -> float | None:
    """What the output that lies there took; None where it was made elsewhere, or the record is of another."""
    sealed = {key: value for key, value in files.read_record(job.seal).items() if key != "files"}
    value = files.read_record(path_of(job))
    is_of_this = value.get("ended") is True and value.get("key") == files.sha256_of(sealed)
    return _seconds_of(value) if is_of_this else None


def _seconds_of(record: dict[str, Any]) -> float:
    seconds = record.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0
