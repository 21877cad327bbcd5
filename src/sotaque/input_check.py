"""Check what a stage reads before it computes anything.

Two things must agree with the seals upstream: the parameters that made the inputs are those of this run, and
every file that the stage reads is the one that was sealed. A file is read for its checksum only when its stat
is not the one that is remembered, so the check of an unchanged file costs one stat.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import Any

from sotaque import manifest, runs, seal
from sotaque.checksums import Memory
from sotaque.errors import IntegrityError, join_first
from sotaque.jobs import Index, Job, find_upstream
from sotaque.settings import Settings


def check(job: Job, settings: Settings, index: Index) -> None:
    """Raises IntegrityError naming the parameters or files that do not agree, and the fix."""
    check_parameters(job, settings, index)
    check_files(job, index)


def check_again(job: Job, settings: Settings, index: Index, want: dict[str, Any]) -> None:
    """After the stage ran: what it read is still what was checked, so that its seal says the truth.

    want: the part of its seal that was known before it ran.
    """
    spec = seal.parameters(job, settings)["spec"]
    lines = runs.differences(want["spec"], spec, words="was {!r} and is {!r}")
    if lines:
        raise IntegrityError(
            f"the file of the model {settings.model} was edited while {job.name} ran: {join_first(lines)}. "
            "Its output is not sealed; run the same command again"
        )
    check_files(job, index)


def check_parameters(job: Job, settings: Settings, index: Index) -> None:
    """The seals upstream, where they are there, name the parameters that this run has."""
    for other in find_upstream(job, index):
        if not other.seal.exists():
            continue
        sealed, here = seal.read(other.seal), seal.parameters(other, settings)
        words = "was {!r} then and is {!r} now"
        lines = [
            line
            for part in ("params", "spec")
            for line in runs.differences(sealed[part], here[part], words=words)
        ]
        if lines:
            raise IntegrityError(
                f"{other.seal}: {other.name} ran with other parameters than {job.name} has: "
                f"{join_first(lines)}. params.yaml or the model's file was edited during the run, or "
                f"{job.name} was started alone: {seal.AGAIN}, and all stages have the same parameters"
            )


def check_files(job: Job, index: Index) -> None:
    """Every file that the job reads is the one that was sealed."""
    faults: dict[Path, list[str]] = {}
    for path, patterns in job.inputs.items():
        if path in index and (path in job.seals or path.exists()):
            lines = _compare(index[path], patterns)
            if lines:
                faults[path] = lines
    for path in job.clips:
        for seal_path, line in _compare_clips(path, index):
            faults.setdefault(seal_path, []).append(line)
    if faults:
        lines = [line for found in faults.values() for line in found]
        seals = " and ".join(map(str, list(faults)[:5]))
        raise IntegrityError(
            f"{job.name} was not run, because its inputs are not what was sealed: {join_first(lines)}. "
            f"Put the files back as they were, or delete {seals} and {seal.AGAIN}: "
            "their stage then runs again"
        )


def _compare(owner: Job, patterns: tuple[str, ...]) -> list[str]:
    """One line for each file of these patterns that differs from the seal of its job."""
    root, memory, lines = owner.out.parent, seal.memory(owner), []
    for name, checksum in seal.read(owner.seal)["files"].items():
        if any(pattern == "*" or fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            lines += _compare_file(memory, name, f"{root}/{name}", checksum, owner.seal)
    memory.save()
    return lines


def _compare_file(memory: Memory, name: str, path: str, expected: str, source: Path) -> list[str]:
    try:
        found = memory.sha256(name, path)
    except OSError as error:
        return [f"{path}: it cannot be read ({error.strerror}), and {source} names it"]
    if found == expected:
        return []
    return [f"{path}: its sha256 is {found[:12]}, and {source} says {expected[:12]}"]


def _compare_clips(rows: Path, index: Index) -> list[tuple[Path, str]]:
    """(seal, line) for each audio file that a manifest names and that is not what was sealed.

    A recording, which a manifest of ingest names, must have the checksum that the manifest says. A WAV must
    have that of its seal. A file that is missing is left to the stage, which knows what to say of it.
    """
    if not rows.exists():
        return []
    ingest = next(job for job in index.values() if job.stage.word == "ingest")
    are_recordings = rows.parent == ingest.out
    found = []
    for folder, recordings in _by_folder(rows):
        owner = _owner(Path(folder), index)
        if owner is None:
            root, memory = ingest.reads["corpus"], seal.tree_memory(ingest.reads["corpus"])
        else:
            root, memory = owner.out.parent, seal.memory(owner)
        names = {audio: audio.removeprefix(f"{root.as_posix()}/") for audio in sorted(recordings)}
        if are_recordings:
            expected, source, blamed = recordings, rows, ingest.seal
        elif owner is not None and owner.seal.exists():
            sealed = seal.read(owner.seal)["files"]
            expected = {audio: sealed.get(name, "nothing") for audio, name in names.items()}
            source = blamed = owner.seal
        else:
            continue
        for audio, name in names.items():
            if os.path.isfile(audio):
                lines = _compare_file(memory, name, audio, expected[audio], source)
                found += [(blamed, line) for line in lines]
        memory.save()
    return found


def _by_folder(rows: Path) -> list[tuple[str, dict[str, str]]]:
    """(folder, path -> checksum of its recording) for the audio files that a manifest names."""
    folders: dict[str, dict[str, str]] = {}
    for row in manifest.read(rows):
        folders.setdefault(os.path.dirname(row.audio), {})[row.audio] = row.source_sha256
    return sorted(folders.items())


def _owner(folder: Path, index: Index) -> Job | None:
    """The job that wrote a folder, by the seal in it or above it."""
    seals = (parent / "seal.json" for parent in (folder, *folder.parents))
    return next((index[path] for path in seals if path in index), None)
