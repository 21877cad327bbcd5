"""`sotaque WORD`: one subcommand per stage, made from the table in stages/."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from sotaque import files, input_check, jobs, runs, seal, stages, times
from sotaque import settings as settings_module
from sotaque.errors import IntegrityError, SettingsError, SotaqueError, join_first
from sotaque.jobs import Index, Job
from sotaque.settings import Settings
from sotaque.stages import Stage
from sotaque.training import stopping, torchrun, tracking

log = logging.getLogger("sotaque")

# What a disk or a system says that is no fault of ours, and the way out.
STORAGE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk, within your quota",
    errno.EFBIG: "permit larger files (ulimit -f)",
    errno.EMFILE: "permit more open files (ulimit -n)",
    errno.EIO: "see whether the disk is failing",
    errno.EROFS: "mount the disk so that it may be written",
    errno.ENOLCK: "mount the disk with file locks, or work in another folder",
    errno.EOPNOTSUPP: "mount the disk with file locks, or work in another folder",
    errno.EACCES: "give yourself the right to it",
    errno.EPERM: "give yourself the right to it",
}
PARAMS = Path("params.yaml")
PATH_HELP = "the path that params.yaml leads to, which is the default; any other path is refused"
PATIENT = ("train",)  # asked to stop, they stop where the same command goes on
FORMATS = ("fish", "ljspeech", "audiofolder")
TOOLS = {
    "compare": ("sotaque.evaluation.compare", "put several models side by side on one page"),
    "export": ("sotaque.data.export", "write the finished corpus as other programs read it"),
    "freshen": ("sotaque.stamps", "tell Snakemake what the seals say is up to date"),
    "verify": ("sotaque.verify", "compare every sealed byte with its seal"),
    "summary": ("sotaque.evaluation.summary", "print the table of results and where the report is"),
}
FLAGS = {
    "compare": {
        "make": {
            "type": int,
            "metavar": "CORES",
            "help": "first make what is missing, by Snakemake on so many cores",
        },
    },
    "summary": {
        "model": {
            "metavar": "MODEL",
            "help": "whose results to print; that of params.yaml unless named",
        },
    },
    "export": {
        "to": {"choices": FORMATS, "required": True},
        "out": {"type": Path, "help": "data/export/FORMAT unless named"},
    },
}


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status, 2 for a fault in params.yaml or the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parser().parse_args(arguments)
    try:
        settings = read_parameters(options.params)
        if options.word in TOOLS:
            flags = {name: getattr(options, name) for name in FLAGS.get(options.word, {})}
            return importlib.import_module(TOOLS[options.word][0]).run(settings, **flags)
        index = jobs.index_by_seal(settings)
        job = find_job(stages.STAGES[options.word], settings, options, index)
        with torchrun.led() as leads:
            if leads:
                with runs.enter(options.params, settings, job.out):
                    run(job, settings, index, options.params)
                check_unchanged(job, settings, options.params)
            else:
                torchrun.follow(job, settings)
    except SotaqueError as error:
        print(f"sotaque {options.word}: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        where, way_out = error.filename or "a file", STORAGE[error.errno]
        again = "then run the same command again"
        print(f"sotaque {options.word}: {where}: {error.strerror}; {way_out}, {again}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sotaque", description=__doc__)
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    for stage in stages.STAGES.values():
        word = words.add_parser(stage.word, help=stage.summary, description=stage.summary)
        for key in stage.fan:
            word.add_argument(f"--{key}", required=True)
        for flag in (*stage.reads, "out"):
            word.add_argument(f"--{flag}", type=Path, help=PATH_HELP)
    for name, (_, summary) in TOOLS.items():
        word = words.add_parser(name, help=summary, description=summary)
        for flag, meaning in FLAGS.get(name, {}).items():
            word.add_argument(f"--{flag}", **meaning)
    for word in words.choices.values():
        word.add_argument("--params", type=Path, default=PARAMS)
    return parser


def read_parameters(path: Path) -> Settings:
    return runs.read_frozen(path) if runs.is_frozen(path) else settings_module.read(path)


def find_job(stage: Stage, settings: Settings, options: argparse.Namespace, index: Index) -> Job:
    """The job of the table that the flags describe.

    Raises SettingsError when a path on the command line is not the one that params.yaml leads to.
    """
    given = {key: getattr(options, key) for key in stage.fan}
    for job in index.values():
        if job.stage is stage and job.fan == given:
            for flag, path in {**job.reads, "out": job.out}.items():
                if getattr(options, flag) not in (None, path):
                    raise SettingsError(
                        f"--{flag} is {getattr(options, flag)}, but with {options.params} "
                        f"{job.name} uses {path}"
                    )
            return job
    allowed = {key: ", ".join(jobs.fan_values(settings)[key]) for key in stage.fan}
    raise SettingsError(
        f"{stage.word} has no {given}; with {options.params} allowed: {allowed} "
        "(shard_names in dvc.yaml must agree with shards)"
    )


def check_unchanged(job: Job, settings: Settings, params: Path) -> None:
    """DVC notes the parameters of a stage when the stage has ended, so they must still be those it ran with.

    Raises IntegrityError naming those that are not.
    """
    if "DVC_STAGE" not in os.environ:
        return
    before, after = seal.parameters(job, settings), seal.parameters(job, read_parameters(params))
    lines = runs.differences(before["params"], after["params"], words="was {!r} and is {!r}")
    if lines:
        raise IntegrityError(
            f"{params} was edited while {job.name} ran: {join_first(lines)}. {job.out} is that of the "
            "earlier values; run dvc repro again"
        )


@contextlib.contextmanager
def locked(job: Job) -> Iterator[None]:
    """Only one process at a time makes one output, whichever engine started it."""
    path = Path(".locks") / job.name
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is at it; waiting", job.name)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run(job: Job, settings: Settings, index: Index | None = None, params: Path = PARAMS) -> None:
    """Make one output unless its seal says that it is already there, then seal it.

    index: of all jobs; params: the file that `settings` was read from.
    """
    index = index or jobs.index_by_seal(settings)
    with locked(job):
        runs.check_current(params, settings, job.out)
        want = seal.wanted(job, settings)
        if seal.reopen(job, want):
            log.info("%s: up to date", job.name)
            return
        input_check.check(job, settings, index)
        files.remove(job.seal)
        for out in job.outs:
            files.remove(out)
        with _heeding(job.stage), times.kept(job, want), tracking.stage(job, settings) as metrics:
            stage = importlib.import_module(job.stage.module)
            metrics |= stage.run(settings, **job.reads, **job.fan, out=job.out) or {}
            input_check.check_again(job, settings, index, want)
            seal.close(job, want)
            if hasattr(stage, "sealed"):  # what a stage keeps for the case that it is killed may go now
                stage.sealed(settings, **job.reads, **job.fan, out=job.out)


def _heeding(stage: Stage) -> contextlib.AbstractContextManager:
    """Signals are noted from here on, for a stage that looks for them: its imports alone take seconds."""
    return stopping.on_request() if stage.word in PATIENT else contextlib.nullcontext()


if __name__ == "__main__":
    sys.exit(main())
