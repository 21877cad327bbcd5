"""A run owns its parameters.

When a run starts, its parameters are written to `.stamps/params-<checksum>.yaml`, and every job of it reads
that file, whatever happens to params.yaml. What the model's file says is written beside it: a job that finds
another content there stops, for its stage would read it. The main process of the run (Snakemake, or one
`sotaque STAGE` that a person or DVC started) holds a flock on a file `.stamps/run-*.json` for as long as it
lives. A second run with other parameters that writes the same outputs finds the lock and refuses to start.
A killed run leaves no lock. The next run removes the files that no run holds.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sotaque import files, jobs, model_spec
from sotaque import settings as settings_module
from sotaque.errors import IntegrityError, SettingsError, join_first
from sotaque.settings import Settings

FOLDER = Path(".stamps")
VARIABLE = "SOTAQUE_RUNS"  # checksums of the runs that this process is a part of, the outermost first
MODEL_FILE = "model"


@dataclass(frozen=True)
class Lock:
    """The run of this process: its file, the open descriptor with the flock, and VARIABLE before it."""

    path: Path
    handle: int
    variable: str


_lock: Lock | None = None


@dataclass(frozen=True)
class Run:
    """A run that is alive.

    values: all that it reads, see `collect_values`. out: what it writes, None for the outputs of all stages.
    words: who it is.
    """

    checksum: str
    values: dict[str, Any]
    out: Path | None
    words: str

    def writes(self, out: Path) -> bool:
        """Whether it may write the output of a job; when its parameters cannot be read, it may."""
        if self.out is not None:
            return self.out == out
        try:
            settings = settings_module.of(self.values["params.yaml"], self.words)
        except SettingsError:
            return True
        return any(job.out == out for job in jobs.of(settings))


def collect_values(settings: Settings) -> dict[str, Any]:
    """All that a run reads of params.yaml, and of the model's file, which is None where it is not valid."""
    try:
        model = dataclasses.asdict(model_spec.read(settings.model))
    except SettingsError:
        model = None
    return json.loads(json.dumps({"params.yaml": dataclasses.asdict(settings), MODEL_FILE: model}))


def checksum_of(settings: Settings) -> str:
    """Equal parameters have equal checksums, however params.yaml writes them."""
    return files.sha256_of(collect_values(settings))[:12]


def frozen_path(settings: Settings) -> Path:
    return FOLDER / f"params-{checksum_of(settings)}.yaml"


def _model_path(checksum: str) -> Path:
    return FOLDER / f"model-{checksum}.json"


def is_frozen(path: Path) -> bool:
    return path.parent == FOLDER and re.fullmatch(r"params-[0-9a-f]{12}\.yaml", path.name) is not None


def read_frozen(path: Path) -> Settings:
    """The parameters of a run.

    Raises IntegrityError when the file is gone or was edited, or when the model's file was edited since.
    """
    if not path.exists():
        raise IntegrityError(
            f"{path}: the parameters of this run are gone, because the run has ended and another one has "
            "begun; start the run again (snakemake --cores all)"
        )
    found = settings_module.read(path)
    if frozen_path(found) == path:
        return found
    values, model = collect_values(found), files.read_record(_model_path(path.stem.removeprefix("params-")))
    if files.sha256_of({**values, MODEL_FILE: model or None})[:12] == path.stem.removeprefix("params-"):
        lines = differences(model, values[MODEL_FILE], words="was {!r} when the run started and is {!r} now")
        raise IntegrityError(
            f"{model_spec.path_of(found.model)} was edited during the run: {join_first(lines)}. Put the "
            "earlier value back, or start the run again with the new one"
        )
    raise IntegrityError(
        f"{path}: somebody edited the parameters of this run; delete the file, edit params.yaml instead, and "
        "start the run again"
    )


def start(settings: Settings, out: Path | None = None) -> Path:
    """Begin a run that lasts as long as this process; returns the file with its parameters.

    out: the output of the one job that the run consists of; None for a run of all stages. Raises
    SettingsError naming a run with other parameters that is alive and writes the same.
    """
    global _lock
    checksum, path = checksum_of(settings), frozen_path(settings)
    FOLDER.mkdir(exist_ok=True)
    with _mutex():
        end()
        alive = _list_alive()
        _refuse_conflict(settings, out, alive)
        _write_frozen(settings, path)
        _lock = _register(checksum, out)
        os.environ[VARIABLE] = ":".join([*(c for c in _own_checksums() if c != checksum), checksum])
        used = {checksum, *(run.checksum for run in alive)}
        for other in (*FOLDER.glob("params-*.yaml"), *FOLDER.glob("model-*.json")):
            if other.stem.split("-")[1] not in used:
                other.unlink(missing_ok=True)
    return path


def end() -> None:
    """Give up the run of this process, if it has one."""
    global _lock
    if _lock is not None:
        with contextlib.suppress(OSError):
            _lock.path.unlink(missing_ok=True)
        os.close(_lock.handle)
        os.environ[VARIABLE] = _lock.variable
        _lock = None


atexit.register(end)


@contextlib.contextmanager
def own(settings: Settings, out: Path | None = None) -> Iterator[None]:
    """Inside the block this process is a run."""
    start(settings, out)
    try:
        yield
    finally:
        end()


@contextlib.contextmanager
def enter(path: Path, settings: Settings, out: Path) -> Iterator[None]:
    """Inside the block this process is a run, unless `path` holds the parameters of one that started it."""
    if is_frozen(path):
        yield
    else:
        with own(settings, out):
            yield


def check_current(path: Path, settings: Settings, out: Path) -> None:
    """A job that outlived its run stops when another run with other parameters has begun.

    path: the parameters of the job; out: its output. Raises IntegrityError, or SettingsError naming the
    other run.
    """
    if not is_frozen(path):
        return
    checksum = checksum_of(settings)
    with _mutex():
        alive = _list_alive()
        if all(run.checksum != checksum for run in alive):
            _refuse_conflict(settings, out, alive)
            read_frozen(path)


def describe_conflict(settings: Settings) -> str:
    """Why a run with these parameters could not start now; empty when it could. Removes nothing."""
    if not FOLDER.is_dir():
        return ""
    try:
        with _mutex():
            _refuse_conflict(settings, None, _list_alive(remove=False))
    except SettingsError as error:
        return str(error)
    return ""


def differences(before: Any, after: Any, name: str = "", words: str = "is {!r} there and {!r} here") -> list:
    """A line such as `lr is 0.001 there and 0.0005 here` for every value of two mappings that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            line
            for key in keys
            for line in differences(before.get(key), after.get(key), f"{name}.{key}".strip("."), words)
        ]
    return [] if before == after else [f"{name} {words.format(before, after)}"]


def _refuse_conflict(settings: Settings, out: Path | None, alive: list[Run]) -> None:
    here, checksum = collect_values(settings), checksum_of(settings)
    mine = Run(checksum, here, out, "this run")
    for run in alive:
        if run.checksum == checksum or run.checksum in _own_checksums():
            continue
        if not (run.writes(out) if out is not None else run.out is None or mine.writes(run.out)):
            continue
        lines = differences(run.values["params.yaml"], here["params.yaml"])
        if run.values["params.yaml"].get("model") == settings.model:
            path = model_spec.path_of(settings.model)
            lines += [
                f"{path}: {line}" for line in differences(run.values[MODEL_FILE], here[MODEL_FILE], "it")
            ]
        raise SettingsError(
            f"another run with other parameters writes the same outputs: {run.words}. {join_first(lines)}. "
            "Wait until it has ended and start again, stop it, or use another copy of this folder"
        )


def _own_checksums() -> list[str]:
    return [checksum for checksum in os.environ.get(VARIABLE, "").split(":") if checksum]


@contextlib.contextmanager
def _mutex() -> Iterator[None]:
    """Only one process at a time looks at the runs or begins one; held for milliseconds."""
    with (FOLDER / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _register(checksum: str, out: Path | None) -> Lock:
    """Lock a file that says who this run is. A child process does not get the descriptor."""
    path = FOLDER / f"run-{checksum}-{os.urandom(4).hex()}.json"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    fcntl.flock(handle, fcntl.LOCK_EX)
    value = {
        "checksum": checksum,
        "out": out and out.as_posix(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    try:
        os.write(handle, json.dumps(value, indent=2).encode("utf-8", "backslashreplace"))
    except OSError as error:
        path.unlink()
        os.close(handle)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return Lock(path.absolute(), handle, os.environ.get(VARIABLE, ""))


def _list_alive(remove: bool = True) -> list[Run]:
    """The runs of other processes that are alive; what killed ones left is removed."""
    found = []
    for path in sorted(FOLDER.glob("run-*.json")):
        with contextlib.suppress(FileNotFoundError), path.open("rb+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(_run_of(path))
                continue
            if remove:
                path.unlink(missing_ok=True)
    return found


def _run_of(path: Path) -> Run:
    value = files.read_record(path)
    checksum = str(value.get("checksum", ""))
    params = files.read_record(FOLDER / f"params-{checksum}.yaml")
    words = (
        f"`{value.get('command')}` (process {value.get('pid')} on {value.get('host')}, started "
        f"{value.get('started')}, parameters in {FOLDER}/params-{checksum}.yaml)"
    )
    model = files.read_record(_model_path(checksum))
    out = Path(value["out"]) if value.get("out") else None
    return Run(checksum, {"params.yaml": params, MODEL_FILE: model}, out, words)


def _write_frozen(settings: Settings, path: Path) -> None:
    """JSON is YAML too; what is read back must be what was written."""
    values = collect_values(settings)
    files.write_json(_model_path(checksum_of(settings)), values[MODEL_FILE] or {})
    with contextlib.suppress(SettingsError):
        if path.is_file() and settings_module.read(path) == settings:
            return
    files.write_json(path, values["params.yaml"])
    if settings_module.read(path) != settings:
        raise IntegrityError(f"{path}: the parameters changed when they were written; please report this")


def _forget_in_child() -> None:
    """A fork is no run of its own: without this it would hold the lock after the run is killed."""
    global _lock
    if _lock is not None:
        os.close(_lock.handle)
        _lock = None


os.register_at_fork(after_in_child=_forget_in_child)
