"""What it costs either engine to find that nothing is to be done, on finished trees of two sizes.

The trees are pretended: every file that the pipeline makes of so many clips lies where it belongs, sealed,
with a few bytes in it. Neither engine reads them when nothing has changed, so their size is no matter; their
number is. DVC has recorded all of them (`dvc commit`) and looks at each, at the recordings too.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import place
from sotaque import files, jobs, manifest, seal, settings
from sotaque.jobs import Job

SIZES = (400, 100_000)  # the demonstration's, and a large corpus
REPEATS = 5
RAW = Path("data/raw/spoken")
IDLE = {"snakemake -n": "Nothing to be done", "dvc status": "up to date"}
COMMANDS = {
    "snakemake -n": [sys.executable, "-m", "snakemake", "-n", "--cores", "1"],
    "dvc status": [sys.executable, "-m", "dvc", "status"],
}


def run() -> dict:
    sizes = dict.fromkeys((SIZES[0], place.size(SIZES[-1])))
    return {"sizes": {str(clips): of_size(clips) for clips in sizes}}


def of_size(clips: int) -> dict:
    shards = place.shards(clips)
    with place.cloned("spoken", shards) as clone:
        call([sys.executable, "-m", "bench.graph", str(clips)], clone)
        call([sys.executable, "-m", "dvc", "commit", "--force"], clone)
        seconds = {name: median_s(name, clone) for name in COMMANDS}
        return {
            "clips": clips,
            "shards": shards,
            "files": len(files.walk(clone / "data")),
            "seconds": seconds,
        }


def call(command: list[str], clone: Path) -> str:
    """What it says; raises CalledProcessError, after that, when it fails."""
    environment = {**place.environment(clone), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr)[-4000:])
        done.check_returncode()
    return done.stdout + done.stderr


def median_s(name: str, clone: Path) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.monotonic()
        said = call(COMMANDS[name], clone)
        times.append(time.monotonic() - started)
        assert IDLE[name] in said, f"{name} has something to do: {said[-2000:]}"
    return round(statistics.median(times), 2)


def pretend(clips: int) -> None:
    """A corpus here, and all that the pipeline would have made of it."""
    found = settings.read(Path("params.yaml"))
    names = [f"clip-{number:06d}" for number in range(clips)]
    for name in names:
        put(RAW / f"wavs/{name}.wav", name)
    put(RAW / "metadata.csv", "".join(f"{name}|{name}\n" for name in names))
    shards: dict[str, list[str]] = {shard: [] for shard in manifest.shard_names(found.shards)}
    for name in names:
        shards[manifest.shard_of(name, found.shards)].append(name)
    for job in jobs.of(found):
        for path, content in made(job, shards).items():
            put(path, content)
        seal.close(job, seal.wanted(job, found))


def made(job: Job, shards: dict[str, list[str]]) -> dict[Path, str]:
    """The files of a job and what is in them; for most, one file in its folder stands for all."""
    word, fan = job.stage.word, "-".join(job.fan.values())
    if job.stage.parts:
        return dict.fromkeys(job.outs, "{}\n")
    if word == "ingest":
        return {job.out / f"{shard}.jsonl": shard for shard in shards} | {job.out / "rejects.jsonl": ""}
    if word == "normalize":
        clips = {job.out / f"{name}.wav": name for name in shards[fan]}
        return clips | {job.out / "manifest.jsonl": fan, job.out / "rejects.jsonl": ""}
    if word == "quality":
        return {job.out / "rejects.jsonl": ""}
    return {job.out / "network/tokenizer.json": "{}\n"} if word == "fetch" else {job.out / "made": word}


def put(path: Path, content: str) -> None:
    """Without waiting for the disk: nobody keeps these."""
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(content)


def table(figures: dict) -> str:
    sizes = sorted(figures["sizes"].values(), key=lambda found: found["clips"])
    head = [f"{found['clips']:,} clips in {found['shards']} shards" for found in sizes]
    lines = [f"| median of {REPEATS} | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in COMMANDS:
        cells = [f"{found['seconds'][name]:.1f} s" for found in sizes]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    pretend(int(sys.argv[1]))
