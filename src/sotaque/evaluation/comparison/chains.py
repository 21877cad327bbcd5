"""Make the reports that are missing or out of date, one model after the other, by the ordinary Snakefile.

Not in one run, since data/wav holds the rate that one model hears. So a model that comes to its end leaves a
mark: while nothing that its result depends on has changed, it is not made again only because data/ has since
been made for another.
"""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

from sotaque import files, jobs, model_spec, seal
from sotaque.errors import ModelError
from sotaque.settings import Settings

log = logging.getLogger("sotaque")

FOLDER = Path("scratch/compare")


def make(settings: Settings, models: tuple[str, ...], cores: int) -> None:
    """Raises ModelError when a model's chain does not come to its end."""
    for model in models:
        chosen = dataclasses.replace(settings, model=model)
        report = Path(f"results/{model}/report.seal.json")
        mark, now = FOLDER / f"{model}.mark.json", _key(chosen)
        if report.is_file() and files.read_record(mark) == _mark(now, report):
            log.info("compare: %s is up to date", model)
            continue
        log.info("compare: making what is missing of %s", model)
        _snakemake(chosen, report, cores)
        files.write_record(mark, _mark(now, report))


def _mark(key: str, report: Path) -> dict[str, str]:
    return {"key": key, "report": files.sha256(report)}


def _key(settings: Settings) -> str:
    """The checksum of what the model's result depends on and that is known beforehand."""
    values = dataclasses.asdict(settings)
    del values["compare"], values["tracking"]
    sources = {
        folder.as_posix(): seal.tree_sha256(folder)
        for job in jobs.of(settings)
        for folder in seal.sources(job, settings)
    }
    spec = dataclasses.asdict(model_spec.read(settings.model))
    return files.sha256_of(
        {"params": values, "spec": spec, "code": seal.code_sha256((".",)), "sources": sources}
    )


def _snakemake(settings: Settings, report: Path, cores: int) -> None:
    params = FOLDER / f"{settings.model}.json"
    files.write_json(params, dataclasses.asdict(settings))
    words = ["--cores", str(cores), "--configfile", params.as_posix(), "--", report.as_posix()]
    done = subprocess.run([sys.executable, "-m", "snakemake", *words], check=False)
    if done.returncode:
        raise ModelError(
            f"{report}: the chain of {settings.model} ended with status {done.returncode}; what failed is "
            f"said above and in logs/{settings.model}/. Mend it and type the same command again, or take "
            f"{settings.model} out of compare.models"
        )
