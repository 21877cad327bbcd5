"""Seals: what a stage's output was made from, and the checksum of every byte of it.

A seal is written last. It holds nothing of time, path or host, so equal work has equal seals
wherever it was done, and either engine can tell from it what is up to date.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque import settings as settings_module
from sotaque.checksums import Memory, read_stat
from sotaque.errors import IntegrityError
from sotaque.jobs import Job
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings
from sotaque.stages import DEMO

PACKAGE = Path(__file__).parent
KEPT = Path("scratch/seals")
KEYS = {"stage": str, "fan": dict, "params": dict, "spec": dict, "code": str, "upstream": dict, "files": dict}
AGAIN = "run snakemake --cores all or dvc repro"


def read(path: Path) -> dict[str, Any]:
    """The content of a seal; do not change it, for it is remembered.

    Raises IntegrityError, naming the file, what was found and the fix, when it is missing or damaged.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The content of a seal and the checksum of its bytes."""
    try:
        return _parse(path, read_stat(path))
    except FileNotFoundError:
        raise IntegrityError(
            f"{path}: there is no such seal; {AGAIN}, which runs the stage that writes it"
        ) from None
    except OSError as error:
        raise IntegrityError(_damaged(path, f"it cannot be read: {error.strerror}")) from None
    except ValueError as error:
        raise IntegrityError(_damaged(path, str(error))) from None


@functools.lru_cache(maxsize=64)
def _parse(path: Path, stat: tuple[int, ...]) -> tuple[dict[str, Any], str]:
    content = path.read_bytes()
    if not content:
        raise ValueError("it is empty")
    try:
        value = files.parse_json(content)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    fault = _fault(value)
    if fault:
        raise ValueError(fault)
    return value, hashlib.sha256(content).hexdigest()


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path}: this seal is damaged: {reason}; {AGAIN}, which writes it again, or delete it and run its "
        "stage"
    )


def _fault(value: Any) -> str:
    """What keeps a value from being a seal; empty for a good one."""
    if not isinstance(value, dict):
        return f"expected a JSON object, found {type(value).__name__}"
    for key, kind in KEYS.items():
        if key not in value:
            return f"the key {key!r} is missing"
        if not isinstance(value[key], kind):
            expected = "an object" if kind is dict else "a string"
            return f"{key!r} is {type(value[key]).__name__}, expected {expected}"
    for key in ("upstream", "files"):
        if not all(isinstance(checksum, str) for checksum in value[key].values()):
            return f"{key!r} holds a value that is no checksum"
    return ""


@functools.lru_cache(maxsize=1024)
def code_sha256(code: tuple[str, ...]) -> str:
    """The checksum of the named modules and folders under src/sotaque."""
    sums = {}
    for name in code:
        path = PACKAGE / name
        members = [path] if path.is_file() else [p for p in files.walk(path) if "__pycache__" not in p.parts]
        sums.update({p.relative_to(PACKAGE).as_posix(): files.sha256(p) for p in members})
    return files.sha256_of(sums)


def code_of(code: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """A stage's code for the model of `settings`: of the rooms in backends/, its own family's alone."""
    if "backends" not in code:
        return code
    family = _model(settings).backend
    rooms = sorted((PACKAGE / "backends").iterdir())
    mine = [f"backends/{p.name}" for p in rooms if p.suffix == ".py" or p.name == family]
    return tuple(name for part in code for name in (mine if part == "backends" else [part]))


def _model(settings: Settings) -> ModelSpec:
    """The file of the model; it is parsed again only when it has changed."""
    path = model_spec.path_of(settings.model)
    return _model_at(settings.model, read_stat(path) if path.exists() else None)


@functools.lru_cache(maxsize=8)
def _model_at(model: str, stat: tuple[int, ...] | None) -> ModelSpec:
    return model_spec.read(model)


def tree_memory(folder: Path) -> Memory:
    """What is remembered of the checksums of a folder that no stage makes."""
    return Memory(KEPT / f"tree-{slug(folder)}.json")


def tree_sha256(folder: Path) -> str:
    """The checksum of all names and bytes under a folder; the stat of each file spares a second reading."""
    memory, sums = tree_memory(folder), {}
    for path in files.walk(folder):
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        sums[name] = memory.sha256(name, path)
    memory.forget_others(sums)
    memory.save()
    return files.sha256_of(sums)


def slug(path: Path) -> str:
    """A short file name for a path, whatever is in it."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in path.as_posix())
    return f"{safe[-60:]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def wanted(job: Job, settings: Settings) -> dict[str, Any]:
    """The part of the seal that is known before the job runs.

    Raises IntegrityError when an upstream seal is missing or damaged.
    """
    upstream = {}
    for path in job.seals:
        try:
            value, checksum = _read(path)
        except IntegrityError as error:
            raise IntegrityError(f"{error} ({job.name} needs it)") from None
        if path in job.takes:
            name = job.takes[path].relative_to(path.parent.parent).as_posix()
            upstream[job.takes[path].as_posix()] = value["files"].get(name, "")
        else:
            upstream[path.as_posix()] = checksum
    for folder in sources(job, settings):
        upstream[folder.as_posix()] = tree_sha256(folder)
    return {
        "stage": job.stage.word,
        "fan": job.fan,
        **parameters(job, settings),
        "code": code_sha256(code_of(job.stage.code, settings)),
        "upstream": upstream,
    }


def parameters(job: Job, settings: Settings) -> dict[str, Any]:
    """What of params.yaml and of the model's file the job depends on, as its seal names it."""
    spec = {key: settings_module.lookup(_model(settings), key) for key in job.stage.spec}
    return {"params": {key: settings_module.lookup(settings, key) for key in job.stage.params}, "spec": spec}


def sources(job: Job, settings: Settings) -> list[Path]:
    """Folders that no stage makes: a person's own corpus, and model parts that lie on this machine."""
    if job.stage.word == "ingest" and settings.ingest.corpus != DEMO:
        folders = [job.reads["corpus"]]
    elif job.stage.word == "fetch":
        spec = _model(settings)
        parts = (spec.network, spec.codec, spec.asr)
        folders = [Path(part.folder) for part in parts if part.folder is not None]
    else:
        folders = []
    return [folder for folder in folders if folder.is_dir()]


def members(job: Job) -> dict[str, Path]:
    """Name in the seal -> path, for every file that the seal answers for."""
    found = {}
    for out in job.outs:
        inside = files.walk(out) if out.is_dir() else [out] if out.exists() else []
        for path in inside:
            if path != job.seal and path.name != ".snakemake_timestamp":
                found[path.relative_to(job.out.parent).as_posix()] = path
    return found


def checksums(job: Job) -> dict[str, str]:
    """Read every byte of the output, whatever is remembered of it."""
    return {name: files.sha256(path) for name, path in members(job).items()}


def memory(job: Job) -> Memory:
    """What is remembered of the checksums of a job's output, by the names in its seal."""
    return Memory(KEPT / f"stat-{slug(job.seal)}.json")


def close(job: Job, want: dict[str, Any]) -> None:
    """Write the seal, and a copy of it that survives when an engine deletes declared outputs."""
    remembered = memory(job)
    remembered.forget_others(())
    sums = {name: remembered.sha256(name, path) for name, path in members(job).items()}
    remembered.save()
    value = {**want, "files": sums}
    files.write_record(_kept(job), value)
    _write_seal(job, value)


def _write_seal(job: Job, value: dict[str, Any]) -> None:
    if job.seal.is_dir():
        files.remove(job.seal)
    files.write_json(job.seal, value)


def _kept(job: Job) -> Path:
    return KEPT / f"{job.out.as_posix().replace('/', '-')}-{job.name}.json"


def reopen(job: Job, want: dict[str, Any]) -> bool:
    """True when the output on disk is already what is wanted, byte for byte; its seal is then in place.

    A damaged seal, or a damaged copy of one, says nothing.
    """
    found: dict[str, str] | None = None
    for path in (job.seal, _kept(job)):
        try:
            value = read(path)
        except IntegrityError:
            continue
        if {key: value[key] for key in want} != want:
            continue
        found = checksums(job) if found is None else found
        if value["files"] == found:
            if path != job.seal:
                _write_seal(job, value)
            return True
    return False


def differences(job: Job) -> list[str]:
    """What on disk is not what the seal says, one line each; empty when all is well."""
    try:
        sealed = read(job.seal)["files"]
    except IntegrityError as error:
        return [str(error)]
    found = checksums(job)
    lines = [f"{job.out.parent / name}: sealed, but missing" for name in sealed.keys() - found.keys()]
    lines += [f"{job.out.parent / name}: not in the seal" for name in found.keys() - sealed.keys()]
    lines += [
        f"{job.out.parent / name}: sha256 is {found[name][:12]}, sealed as {sealed[name][:12]}"
        for name in sealed.keys() & found.keys()
        if sealed[name] != found[name]
    ]
    return sorted(lines)
