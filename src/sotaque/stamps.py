"""Tell Snakemake what the seals say.

Snakemake compares times, and knows nothing of what DVC or a checkout did. So each stage has a stamp
among its inputs. When a seal is not what params.yaml, the model's file and the code now lead to, the
stamp becomes newer, and Snakemake runs the stage again; when all agree but the times are in a wrong
order, the times are put right.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from sotaque import files, jobs, seal
from sotaque.errors import IntegrityError
from sotaque.jobs import Job
from sotaque.settings import Settings

FOLDER = Path(".stamps")


def path_of(word: str) -> Path:
    return FOLDER / f"{word}.json"


def run(settings: Settings) -> int:
    stale = freshen(settings)
    print(f"to do: {', '.join(stale)}" if stale else "all made outputs are up to date")
    return 0


def freshen(settings: Settings) -> list[str]:
    """Refresh the stamps; returns the names of the jobs whose output is there but stale."""
    stale = []
    for job in jobs.of(settings):
        stamp = path_of(job.stage.word)
        if not stamp.exists():
            files.write_json(stamp, {"stage": job.stage.word})
            os.utime(stamp, (0, 0))
        if not job.seal.exists():
            continue
        if is_stale(job, settings):
            stale.append(job.name)
            files.write_json(stamp, {"stage": job.stage.word, "renewed_ns": time.time_ns()})
        else:
            _put_in_order(job, stamp)
    return stale


def is_stale(job: Job, settings: Settings) -> bool:
    """True when the sealed output is not what would be made now, or a sealed file is gone."""
    value = files.read_json(job.seal)
    try:
        want = seal.wanted(job, settings)
    except IntegrityError:
        return True
    if {key: value.get(key) for key in want} != want:
        return True
    return not all(os.path.exists(f"{job.out.parent}/{name}") for name in value["files"])


def _put_in_order(job: Job, stamp: Path) -> None:
    inputs = [path.stat().st_mtime_ns for path in (*job.seals, stamp)]
    outputs = [job.seal, *(path for path in job.outs if path.is_file())]
    if min(path.stat().st_mtime_ns for path in outputs) < max(inputs):
        now = time.time_ns()
        for path in outputs:
            os.utime(path, ns=(now, now))
