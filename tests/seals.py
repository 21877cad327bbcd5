"""Seals of stages whose outputs a test wrote by hand."""

from collections.abc import Collection
from pathlib import Path

from sotaque import jobs, seal
from sotaque.settings import Settings


def write(settings: Settings, paths: Collection[Path]) -> None:
    """Seal the outputs that these seals stand for, as made with these parameters from nothing."""
    for job in jobs.of(settings):
        if job.seal in paths:
            known = {"stage": job.stage.word, "fan": job.fan, **seal.parameters(job, settings)}
            seal.close(job, {**known, "code": "", "upstream": {}})
