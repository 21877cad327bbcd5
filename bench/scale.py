"""From a raw corpus to splits and tokens, at three sizes: time, memory, and whether the cost grows linearly.

Clips are short, of two or three words, so that their number is what costs (spoken.py says how they are
made); a shard for each 10,000 of them and 4 at least. Each stage's commands are those of both engines, one
for each core at a time; the corpus and the models are there before the clock starts. Sizes that are done are
kept in scratch/bench/ until all are, so a run that was killed goes on, if the code is still the same.
"""

from __future__ import annotations

import math
import subprocess
from dataclasses import asdict
from pathlib import Path

from bench import place, spoken
from bench.place import Cost
from sotaque import files

LARGEST = 100_000
WORDS = (2, 3)
STAGES = ("ingest", "normalize", "measure", "quality", "split", "tokenize")


def run() -> dict:
    """A hundredth, a tenth and all of the clips."""
    last = place.size(LARGEST)
    sizes = (last // 100, last // 10, last)
    small, middle, large = (once(clips) for clips in sizes)
    for clips in sizes:
        files.remove(_finished(clips))
    return {
        "sizes": {str(found["clips"]): found for found in (small, middle, large)},
        "growth": [growth(small, middle), growth(middle, large)],
        "ratio": {
            "peak memory at a tenth of the clips": round(large["together_mb"] / middle["together_mb"], 3)
        },
    }


def once(clips: int) -> dict:
    """The figures of one size, measured now or by a run of the same code that was killed."""
    path, code = _finished(clips), _code()
    if path.exists() and (known := files.read_json(path))["code"] == code:
        return known["figures"]
    figures = of_size(clips)
    files.write_json(path, {"code": code, "figures": figures})
    return figures


def _finished(clips: int) -> Path:
    return place.SCRATCH / f"scale-{clips}.json"


def _code() -> str:
    """What git calls the code and the parameters of this commit, which is what the clones hold."""
    names = ["HEAD:src", "HEAD:bench", "HEAD:params.yaml"]
    return subprocess.run(["git", "rev-parse", *names], check=True, capture_output=True, text=True).stdout


def of_size(clips: int) -> dict:
    with place.cloned("spoken", place.shards(clips)) as clone:
        hours = spoken.write(clone / "data/raw/spoken", clips, WORDS)
        place.cost(place.commands(clone, "fetch"), clone)
        costs = {word: place.cost(place.commands(clone, word), clone) for word in STAGES}
        return summary(clips, hours, place.value(clone, "shards"), costs)


def summary(clips: int, hours: float, shards: int, costs: dict[str, Cost]) -> dict:
    """wall_s and cpu_s are the sums over the stages, the memory that of the stage with the most."""
    return {
        "clips": clips,
        "hours": round(hours, 2),
        "shards": shards,
        "wall_s": round(sum(cost.wall_s for cost in costs.values()), 1),
        "cpu_s": round(sum(cost.cpu_s for cost in costs.values()), 1),
        "peak_mb": max(cost.peak_mb for cost in costs.values()),
        "together_mb": max(cost.together_mb for cost in costs.values()),
        "stages": {word: asdict(cost) for word, cost in costs.items()},
    }


def growth(before: dict, after: dict) -> float:
    """The power of the number of clips with which processor time grows: 1 is linear, less is better.

    What else the machine does in these hours does not count in it.
    """
    times, clips = after["cpu_s"] / before["cpu_s"], after["clips"] / before["clips"]
    return round(math.log(times) / math.log(clips), 3)


def table(figures: dict) -> str:
    head = ["clips", "hours", "shards", "seconds", "processor seconds", "peak of all processes, MB", *STAGES]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for found in figures["sizes"].values():
        cells = [f"{found['clips']:,}", f"{found['hours']:.1f}", found["shards"], f"{found['wall_s']:.0f}"]
        cells += [f"{found['cpu_s']:.0f}", f"{found['together_mb']:.0f}"]
        cells += [f"{found['stages'][word]['cpu_s']:.0f}" for word in STAGES]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    powers = ", then ".join(f"{power:.2f}" for power in figures["growth"])
    said = (
        "Stages in processor seconds. Their sum grows with the number of clips to the power of "
        f"{powers} (1 is linear)."
    )
    return "\n".join([*lines, "", said])
