"""`sotaque verify`: compare every byte on disk with its seal."""

from __future__ import annotations

import sys

from sotaque import jobs, seal
from sotaque.settings import Settings


def run(settings: Settings) -> int:
    """Print each difference and a closing count; exit status 1 when any sealed byte is not as sealed."""
    faults, sealed = [], 0
    for job in jobs.of(settings):
        if job.seal.exists():
            sealed += 1
            faults += seal.differences(job)
    for line in faults:
        print(line, file=sys.stderr)
    print(f"sealed outputs: {sealed}, differences: {len(faults)}")
    if faults:
        print(
            "fix: delete the seal of a damaged output and run snakemake --cores all, which makes it again "
            "from its inputs; or restore it with dvc checkout",
            file=sys.stderr,
        )
    return 1 if faults else 0
