"""What is known of one model: its report, and how that was made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sotaque import files, jobs, model_spec, seal, times
from sotaque.errors import InputError, IntegrityError
from sotaque.evaluation import report
from sotaque.evaluation.page import words
from sotaque.jobs import Job
from sotaque.metrics import TRANSCRIPTS
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings
from sotaque.stages import SYSTEMS
from sotaque.training import record
from sotaque.training.record import TrainingRecord


@dataclass(frozen=True)
class Entry:
    """One model. metrics: its metrics.json. results: system -> metric -> the JSON of `evaluate`.

    training: what its training did. measured_with: what a figure depends on that
    must be alike in all models. training_s: None where no record of it lies here.
    """

    model: str
    spec: ModelSpec
    metrics: dict[str, Any]
    results: dict[str, dict[str, Any]]
    training: TrainingRecord
    measured_with: dict[str, Any]
    selected_step: int
    training_s: float | None

    @property
    def parameters(self) -> int | None:
        """Of the tuned network; None where no metric counted them."""
        methods = (metric["method"] for metric in self.results[words.JUDGED].values())
        return next((method["parameters"] for method in methods if "parameters" in method), None)

    def row(self) -> dict[str, Any]:
        """What compare.json says of it."""
        tuned = self.results[words.JUDGED]
        return {
            "about": self.spec.about,
            "backend": self.spec.backend,
            "weights_licence": self.spec.weights_licence,
            "parameters": self.parameters,
            "training_s": self.training_s,
            "selected_step": self.selected_step,
            "training": dataclasses.asdict(self.training),
            "learning": dataclasses.asdict(self.spec.learning),
            "generation": dataclasses.asdict(self.spec.generation),
            "text": words.text_forms(self.spec, words.languages(tuned)),
            "measured": dict(words.measured(tuned)),
            "systems": {system: self.metrics["systems"][system] for system in SYSTEMS},
        }


def command(model: str) -> str:
    return f"snakemake --cores all --config model={model}"


def read(settings: Settings, models: tuple[str, ...]) -> list[Entry]:
    """Raises InputError naming every model that has no report, IntegrityError for one that is not whole."""
    found = {model: _jobs(settings, model) for model in models}
    missing = [model for model, made in found.items() if not made["report"].seal.exists()]
    if missing:
        listed = "; ".join(
            f"{found[m]['report'].seal}: there is no such file, type: {command(m)}" for m in missing
        )
        raise InputError(f"{listed} (or snakemake --cores all compare, which makes all that is missing)")
    return [_entry(model, made) for model, made in found.items()]


def _jobs(settings: Settings, model: str) -> dict[str, Job]:
    chosen = dataclasses.replace(settings, model=model)
    return {job.name: job for job in jobs.of(chosen)}


def _entry(model: str, made: dict[str, Job]) -> Entry:
    sealed = seal.read(made["report"].seal)
    _check(model, made["report"], sealed)
    results = report.read_results(Path("results") / model)
    heard = seal.read(made[f"evaluate-{words.JUDGED}-{TRANSCRIPTS}"].seal)
    asr = {n: s for n, s in seal.read(made["fetch"].seal)["files"].items() if n.startswith("base/asr/")}
    return Entry(
        model,
        model_spec.read(model),
        files.read_json(made["report"].out / "metrics.json"),
        results,
        training=record.read(made["train"].out),
        measured_with={"the ASR": asr, "evaluate of params.yaml": heard["params"]["evaluate"]},
        selected_step=files.read_json(Path(f"models/{model}/selected.json"))["step"],
        training_s=times.seconds(made["train"]),
    )


def _check(model: str, made: Job, sealed: dict[str, Any]) -> None:
    """The report's bytes are those that were sealed, and what it was made from is what lies there."""
    faults = seal.differences(made)
    own = (f"results/{model}/", f"models/{model}/")
    faults += [
        f"{path}: not what the report of {model} was made from"
        for path, checksum in sealed["upstream"].items()
        if path.startswith(own) and not (Path(path).exists() and files.sha256(Path(path)) == checksum)
    ]
    if faults:
        raise IntegrityError(f"{'; '.join(faults)}; make the report of {model} again: {command(model)}")
