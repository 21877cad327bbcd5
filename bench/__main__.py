"""Run the named benchmarks (all when none is named), write bench/results/<name>.json and the README's tables.

A benchmark is a module here with `run() -> dict` (its raw figures, and `ratio: {peer: x}` where it has a
peer measured in the same run) and `table(figures) -> str` (Markdown for the README).

CLIPS=... in the environment tries normalize, tokenize, scale or graph with so many clips; the figures then
go to scratch/bench/trial-<name>.json alone.
"""

import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

from bench import place
from sotaque import files, processor
from sotaque.errors import SotaqueError

NAMES = ("demo", "accents", "graph", "normalize", "tokenize", "scale", "train", "generate")
ON_A_CARD = ("demo", "accents", "train", "generate")  # where there is one; the others hide it from themselves
README = Path("README.md")
RESULTS = Path("bench/results")
PACKAGES = ("torch", "transformers", "peft", "snac", "snakemake", "dvc", "pyloudnorm", "soxr", "soundfile")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"bench: there is no {unknown[0]!r}; allowed: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        try:
            figures = module.run()
        except SotaqueError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return error.exit_status
        versions = {package: version(package) for package in PACKAGES} | figures.pop("versions", {})
        figures |= {"hardware": hardware(name), "versions": versions}
        table = f"{module.table(figures)}\n\nMeasured on {figures['hardware']}."
        if os.environ.get("CLIPS"):
            files.write_json(place.SCRATCH / f"trial-{name}.json", figures)
        else:
            files.write_json(RESULTS / f"{name}.json", figures)
            into_readme(name, table)
        print(f"## {name}\n\n{table}\n")
    return 0


def hardware(name: str) -> str:
    """Processor, cores that this process may use, memory, and the card if this benchmark used one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = "1 core" if cores == 1 else f"{cores} cores"
    return f"{processor.describe()}, {cores}, {memory:.0f} GiB, {card(name)}"


def card(name: str) -> str:
    import torch

    used = name in ON_A_CARD and torch.cuda.is_available()
    return torch.cuda.get_device_name() if used else "no GPU used"


def into_readme(name: str, table: str) -> None:
    """Replace what stands between the README's markers of this benchmark."""
    text = README.read_text(encoding="utf-8")
    start, end = f"<!-- bench {name} -->", f"<!-- end {name} -->"
    if start in text:
        before, rest = text.split(start, 1)
        files.write_text(README, f"{before}{start}\n{table}\n{end}{rest.split(end, 1)[1]}")


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name]))
