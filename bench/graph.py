"""What it costs to find that nothing is to be done, on the finished tree of this folder."""

import statistics
import subprocess
import sys
import time

REPEATS = 5


def run() -> dict:
    commands = {
        "snakemake -n": [sys.executable, "-m", "snakemake", "-n", "--cores", "1"],
        "sotaque verify": [sys.executable, "-m", "sotaque", "verify"],
    }
    seconds = {name: _median_s(command) for name, command in commands.items()}
    return {"seconds": seconds}


def _median_s(command: list[str]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.monotonic() - started)
    return round(statistics.median(times), 2)


def table(figures: dict) -> str:
    rows = [f"| `{name}` | {seconds:.2f} s |" for name, seconds in figures["seconds"].items()]
    return "\n".join(["| on the finished demonstration | median of 5 |", "|---|---|", *rows])
