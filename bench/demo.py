"""The demonstration from a clean clone of this commit: its table and how long it takes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sotaque import files
from sotaque.stages import SYSTEMS

NUMBERS = ("wer", "cer", "mos", "similarity", "rtf")


def run() -> dict:
    """Clone the repository, run the whole chain there and read its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sotaque"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        started = time.monotonic()
        metrics = chain(clone)
        return {"seconds": round(time.monotonic() - started, 1), "metrics": metrics}


def chain(clone: Path, *config: str) -> dict:
    """Run the whole chain in a clone, with values of params.yaml such as `lr=1e-4`; its metrics."""
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "rules", "reason", "host"]
    environment = {**os.environ, "PYTHONPATH": str(clone / "src")}
    subprocess.run([*command, "--config", *config], cwd=clone, env=environment, check=True)
    return files.read_json(clone / "results/micro/metrics.json")


def table(figures: dict) -> str:
    lines = ["| system | WER | 95 % interval | CER | MOS | similarity | RTF |", "|---" * 7 + "|"]
    for system in SYSTEMS:
        values = figures["metrics"]["systems"][system]
        low, high = values["wer_low"], values["wer_high"]
        interval = "" if low is None else f"{low:.3f} to {high:.3f}"
        shown = {name: "" if values[name] is None else f"{values[name]:.3f}" for name in NUMBERS}
        cells = [shown["wer"], interval, shown["cer"], shown["mos"], shown["similarity"], shown["rtf"]]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    minutes = figures["seconds"] / 60
    return "\n".join([*lines, "", f"The whole chain, after installation, takes {minutes:.1f} minutes."])
