"""Tell Snakemake what the seals say.

Snakemake compares times, and knows nothing of what DVC or a checkout did. So each stage has a stamp
among its inputs. When a seal is not what params.yaml, the model's file and the code now lead to, the
stamp becomes newer, and Snakemake runs the stage again; when all agree but the times are in a wrong
order, or ahead of the clock, the times are put right.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

from sotaque import files, jobs, runs, seal
from sotaque.errors import IntegrityError
from sotaque.jobs import Job
from sotaque.settings import Settings

log = logging.getLogger("sotaque")

FOLDER = Path(".stamps")


def path_of(word: str) -> Path:
    return FOLDER / f"{word}.json"


def run(settings: Settings) -> int:
    """Refresh the stamps; raises SettingsError while a run with other parameters makes these outputs."""
    with runs.own(settings):
        stale = freshen(settings)
    print(f"to do: {', '.join(stale)}" if stale else "all made outputs are up to date")
    return 0


def freshen(settings: Settings) -> list[str]:
    """Refresh the stamps; returns the names of the jobs whose output is there but stale."""
    stale = []
    for job in jobs.of(settings):
        stamp = path_of(job.stage.word)
        _make_stamp(stamp, job.stage.word)
        if not job.seal.exists():
            continue
        _restore_seal(job, settings)
        fault = explain_staleness(job, settings) if job.seal.exists() else ""
        if fault is None:
            _put_in_order(job, stamp)
            continue
        if fault:
            log.warning("%s; %s is run again", fault, job.name)
        stale.append(job.name)
        files.write_json(stamp, {"stage": job.stage.word, "renewed_ns": time.time_ns()})
        if job.seal.exists():
            _clamp_to_now(job.seal)
    return stale


def list_stale(settings: Settings) -> list[str]:
    """The names of the jobs whose output is there but stale; changes nothing."""
    found = (job for job in jobs.of(settings) if job.seal.exists())
    return [job.name for job in found if explain_staleness(job, settings) is not None]


def explain_staleness(job: Job, settings: Settings) -> str | None:
    """None when the sealed output is what would be made now and no sealed file is gone or changed.

    Else why not, in words when it is damage and not a change of parameters, code or inputs. A file is read
    only when its stat is not the one that is remembered.
    """
    try:
        value = seal.read(job.seal)
    except IntegrityError as error:
        return str(error).split(";")[0]
    try:
        want = seal.wanted(job, settings)
    except (IntegrityError, OSError):
        return ""
    if {key: value[key] for key in want} != want:
        return ""
    remembered = seal.memory(job)
    for name, checksum in value["files"].items():
        path = f"{job.out.parent}/{name}"
        if not os.path.exists(path):
            return f"{path}: sealed, but missing"
        if remembered.sha256(name, path) != checksum:
            return f"{path}: changed since it was sealed"
    remembered.save()
    return None


def _restore_seal(job: Job, settings: Settings) -> None:
    """Restore a damaged seal from its copy, when every byte of the output is what the copy says."""
    try:
        seal.read(job.seal)
    except IntegrityError as error:
        fault = str(error).split(";")[0]
        with contextlib.suppress(IntegrityError, OSError):
            if seal.reopen(job, seal.wanted(job, settings)):
                log.warning("%s; it is restored from its copy in %s", fault, seal.KEPT)
                return
        if job.seal.is_dir():
            log.warning("%s; the folder is removed, and %s is run again", fault, job.name)
            files.remove(job.seal)


def _make_stamp(stamp: Path, word: str) -> None:
    if stamp.is_dir():
        files.remove(stamp)
    if not stamp.exists():
        files.write_json(stamp, {"stage": word})
        os.utime(stamp, (0, 0))
    _clamp_to_now(stamp)


def _put_in_order(job: Job, stamp: Path) -> None:
    """Make the outputs newer than the inputs, and nothing newer than now.

    Snakemake refuses the output of a job that is older than an input of it.
    """
    outputs = [job.seal, *(path for path in job.outs if path.is_file())]
    for path in outputs:
        _clamp_to_now(path)
    inputs = [path.stat().st_mtime_ns for path in (*job.seals, stamp)]
    if min(path.stat().st_mtime_ns for path in outputs) < max(inputs):
        now = time.time_ns()
        for path in outputs:
            os.utime(path, ns=(now, now))


def _clamp_to_now(path: Path) -> None:
    now = time.time_ns()
    if path.stat().st_mtime_ns > now:
        os.utime(path, ns=(now, now))
