"""Seals: what a stage's output was made from, and the checksum of every byte of it.

A seal is written last. It holds nothing of time, path or host, so equal work has equal seals
wherever it was done, and either engine can tell from it what is up to date.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque import settings as settings_module
from sotaque.errors import IntegrityError
from sotaque.jobs import Job
from sotaque.settings import Settings
from sotaque.stages import DEMO

PACKAGE = Path(__file__).parent
KEPT = Path("scratch/seals")


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
    family = model_spec.read(settings.model).backend
    rooms = sorted((PACKAGE / "backends").iterdir())
    mine = [f"backends/{p.name}" for p in rooms if p.suffix == ".py" or p.name == family]
    return tuple(name for part in code for name in (mine if part == "backends" else [part]))


def tree_sha256(folder: Path) -> str:
    """The checksum of all names and bytes under a folder; the stat of each file spares a second reading."""
    memory = KEPT / f"tree-{folder.as_posix().strip('/').replace('/', '-')}.json"
    known = files.read_json(memory) if memory.exists() else {}
    sums, start = {}, len(folder.as_posix()) + 1
    for path in files.walk(folder):
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        name = path.as_posix()[start:]
        before = known.get(name)
        sums[name] = before if before and before[:3] == mark else [*mark, files.sha256(path)]
    if sums != known:
        files.write_json(memory, sums)
    return files.sha256_of({name: entry[3] for name, entry in sums.items()})


def wanted(job: Job, settings: Settings) -> dict[str, Any]:
    """The part of the seal that is known before the job runs.

    Raises IntegrityError when an upstream seal is missing.
    """
    upstream = {}
    for path in job.seals:
        if not path.exists():
            raise IntegrityError(
                f"{path}: {job.name} needs this seal, and it is not there; "
                f"run the stage that writes it (snakemake --cores all)"
            )
        if path in job.takes:
            upstream[job.takes[path].as_posix()] = _sealed(path, job.takes[path])
        else:
            upstream[path.as_posix()] = files.sha256(path)
    for folder in sources(job, settings):
        upstream[folder.as_posix()] = tree_sha256(folder)
    return {
        "stage": job.stage.word,
        "fan": job.fan,
        "params": {key: settings_module.lookup(settings, key) for key in job.stage.params},
        "spec": _spec(job, settings),
        "code": code_sha256(code_of(job.stage.code, settings)),
        "upstream": upstream,
    }


def _sealed(seal: Path, path: Path) -> str:
    """The checksum of one file by the seal of its folder, "" for a file that is not in it."""
    return files.read_json(seal)["files"].get(path.relative_to(seal.parent.parent).as_posix(), "")


def sources(job: Job, settings: Settings) -> list[Path]:
    """Folders that no stage makes: a person's own corpus, and model parts that lie on this machine."""
    if job.stage.word == "ingest" and settings.ingest.corpus != DEMO:
        folders = [job.reads["corpus"]]
    elif job.stage.word == "fetch":
        spec = model_spec.read(settings.model)
        parts = (spec.network, spec.codec, spec.asr)
        folders = [Path(part.folder) for part in parts if part.folder is not None]
    else:
        folders = []
    return [folder for folder in folders if folder.is_dir()]


def _spec(job: Job, settings: Settings) -> dict[str, Any]:
    if not job.stage.spec:
        return {}
    spec = model_spec.read(settings.model)
    return {key: settings_module.lookup(spec, key) for key in job.stage.spec}


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
    return {name: files.sha256(path) for name, path in members(job).items()}


def close(job: Job, want: dict[str, Any]) -> None:
    """Write the seal, and a copy of it that survives when an engine deletes declared outputs."""
    value = {**want, "files": checksums(job)}
    files.write_json(_kept(job), value)
    files.write_json(job.seal, value)


def _kept(job: Job) -> Path:
    return KEPT / f"{job.out.as_posix().replace('/', '-')}-{job.name}.json"


def reopen(job: Job, want: dict[str, Any]) -> bool:
    """True when the output on disk is already what is wanted, byte for byte; its seal is then in place."""
    for path in (job.seal, _kept(job)):
        if not path.exists():
            continue
        value = files.read_json(path)
        if {key: value.get(key) for key in want} == want and value["files"] == checksums(job):
            if path != job.seal:
                files.write_json(job.seal, value)
            return True
    return False


def differences(job: Job) -> list[str]:
    """What on disk is not what the seal says, one line each; empty when all is well."""
    if not job.seal.exists():
        return [f"{job.seal}: not made yet"]
    sealed = files.read_json(job.seal)["files"]
    found = checksums(job)
    lines = [f"{job.out.parent / name}: sealed, but missing" for name in sealed.keys() - found.keys()]
    lines += [f"{job.out.parent / name}: not in the seal" for name in found.keys() - sealed.keys()]
    lines += [
        f"{job.out.parent / name}: sha256 is {found[name][:12]}, sealed as {sealed[name][:12]}"
        for name in sealed.keys() & found.keys()
        if sealed[name] != found[name]
    ]
    return sorted(lines)
