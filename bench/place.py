"""Where a bench runs: a clean clone with a corpus of its own, and what its commands cost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import psutil

from sotaque import jobs, manifest, settings, yaml_file
from sotaque.jobs import Job

SCRATCH = Path("scratch/bench")
CLIPS_PER_SHARD = 10_000
LOOK_EVERY_S = 0.5
# Linux counts to a process what its parent had when it was started: here a small parent, and not the bench.
_LAUNCH = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss], open(sys.argv[1], "w"))
sys.exit(status)
"""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def size(usual: int) -> int:
    """How many clips: the usual number, or that of `make bench CLIPS=...`, a trial that is not recorded."""
    return int(os.environ.get("CLIPS") or usual)


def shards(clips: int) -> int:
    """As many as a user would take for jobs of some minutes: four at least, 10,000 clips in each at most."""
    return max(4, math.ceil(clips / CLIPS_PER_SHARD))


def environment(clone: Path) -> dict[str, str]:
    """Commands take the clone's code, and no card."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    code = f"{clone.resolve() / 'src'}:{Path.cwd()}"
    return {**os.environ, "PATH": path, "PYTHONPATH": code, "CUDA_VISIBLE_DEVICES": ""}


@contextlib.contextmanager
def cloned(corpus: str, shards: int) -> Iterator[Path]:
    """A clone of this commit, on this disk, that reads data/raw/<corpus>/ in so many shards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        clone = Path(folder) / "sotaque"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        change(clone / "params.yaml", {"shards: 4": f"shards: {shards}", "corpus: demo": f"corpus: {corpus}"})
        names = ", ".join(f'"{name}"' for name in manifest.shard_names(shards))
        change(clone / "dvc.yaml", {'shard_names: ["00", "01", "02", "03"]': f"shard_names: [{names}]"})
        yield clone


def change(path: Path, replacements: dict[str, str]) -> None:
    """Raises ValueError for what is not there exactly once."""
    text = path.read_text(encoding="utf-8")
    for old, new in replacements.items():
        if text.count(old) != 1:
            raise ValueError(f"{path}: {old!r} stands there {text.count(old)} times, expected once")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def commands(clone: Path, word: str) -> list[list[str]]:
    """The command of each job of a stage, as both engines run it."""
    with contextlib.chdir(clone):
        found = jobs.of(settings.read(Path("params.yaml")))
    return [command(job) for job in found if job.stage.word == word]


def command(job: Job) -> list[str]:
    flags = {**job.fan, **job.reads, "out": job.out}
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    return [sys.executable, "-m", "sotaque", job.stage.word, *words]


@dataclass(frozen=True)
class Cost:
    """wall_s: from the first start to the last end. cpu_s: of all processes.

    peak_mb: of the largest process, by the kernel. together_mb: the most that all had at once, looked at
    twice a second; what processes share counts once.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    together_mb: float


def cost(wanted: Sequence[Sequence[str]], clone: Path, at_once: int = CORES) -> Cost:
    """Run the commands, so many at once, and say what they cost, children included.

    Raises CalledProcessError, after what the command said, when one fails.
    """
    started = time.monotonic()
    with _memory() as most, ThreadPool(at_once) as pool:
        used = pool.map(lambda words: _run(words, clone), wanted, chunksize=1)
    wall_s = time.monotonic() - started
    peak_mb = max(mb for _, mb in used)
    together_mb = max(peak_mb, *most)
    return Cost(
        round(wall_s, 2), round(sum(cpu for cpu, _ in used), 2), round(peak_mb, 1), round(together_mb, 1)
    )


@contextlib.contextmanager
def _memory() -> Iterator[list[float]]:
    """What all children of this process have together, in MB, at one look after the other."""
    seen, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_EVERY_S):
            seen.append(sum(map(_proportional_mb, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def _proportional_mb(process: psutil.Process) -> float:
    """Its memory, shared pages divided among those who share them; 0 when it has just ended."""
    try:
        return process.memory_full_info().pss / 2**20
    except psutil.Error:
        return 0.0


def _run(words: Sequence[str], clone: Path) -> tuple[float, float]:
    """(processor seconds, largest resident set in MB) of a process and its children."""
    with tempfile.TemporaryFile() as said, tempfile.NamedTemporaryFile() as used:
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCH, used.name, *map(str, words)]
        status = subprocess.call(launched, cwd=clone, env=environment(clone), stdout=said, stderr=said)
        if status:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace")[-4000:])
            raise subprocess.CalledProcessError(status, list(words))
        cpu_s, peak_kb = json.load(used)
        return cpu_s, peak_kb / 1024


def value(clone: Path, key: str) -> Any:
    """A value of the clone's params.yaml."""
    return yaml_file.read(clone / "params.yaml")[key]
