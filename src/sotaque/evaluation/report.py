"""Gather everything into one page, metrics.json and the curves for `dvc plots`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque.errors import InputError
from sotaque.evaluation import curves, parts
from sotaque.evaluation.page import render
from sotaque.settings import Settings
from sotaque.stages import METRICS, SYSTEMS
from sotaque.training import record

# figure in metrics.json -> the metric whose file holds it
FIGURES = {
    "wer": "wer", "wer_low": "wer", "wer_high": "wer", "cer": "wer", "mos": "mos",
    "similarity": "similarity", "rtf": "speed", "clips": "wer", "failed": "wer",
}  # fmt: skip
LOWER_IS_BETTER = ("wer", "rtf")
TARGETS = ("wer", "mos", "similarity", "rtf")


def run(
    settings: Settings, *, model: Path, manifest: Path, quality: Path, splits: Path, base: Path, lora: Path,
    selected: Path, results: Path, out: Path,
) -> dict[str, float]:  # fmt: skip
    """Write report.html, metrics.json, headline.json, plots/{loss,selection}.csv; returns the headline."""
    found = read_results(results)
    metrics = collect(settings, found) | {"splits": parts.fingerprints(splits)}
    losses, selection = curves.read_losses(lora), curves.read_selection(selected)
    files.write_json(out / "metrics.json", metrics)
    files.write_json(out / "headline.json", headline(metrics))
    files.write_text(out / "plots/loss.csv", curves.to_csv(curves.Loss, losses))
    files.write_text(out / "plots/selection.csv", curves.to_csv(curves.Candidate, selection.candidates))
    page = render.Page(
        settings=settings, spec=model_spec.read(model.stem), metrics=metrics, results=found,
        wav=results / "wav", manifest=manifest, quality=quality, splits=splits,
        training=record.read(lora), losses=losses, selection=selection,
    )  # fmt: skip
    files.write_text(out / "report.html", page.html())
    return headline(metrics)


def read_results(results: Path) -> dict[str, dict[str, Any]]:
    """system -> metric -> the content of its JSON. Raises InputError naming the file that is missing."""
    found: dict[str, dict[str, Any]] = {}
    for system in SYSTEMS:
        for metric in METRICS:
            path = results / system / f"{metric}.json"
            if not path.exists():
                raise InputError(
                    f"{path}: there is no such file; run sotaque evaluate for {system}, {metric}"
                )
            found.setdefault(system, {})[metric] = files.read_json(path)
    return found


def collect(settings: Settings, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of metrics.json: each system's figures, the tuned one's targets, and the named groups."""
    systems = {system: _figures(metrics) for system, metrics in results.items()}
    names = sorted({name for metrics in results.values() for name in metrics["wer"]["groups"]})
    groups = {
        name: {system: _figures(metrics, name) for system, metrics in results.items()} for name in names
    }
    targets = {
        name: verdict(name, getattr(settings.targets, name), systems["tuned"][name]) for name in TARGETS
    }
    return {"model": settings.model, "systems": systems, "targets": targets, "groups": groups}


def _figures(metrics: dict[str, Any], group: str = "") -> dict[str, Any]:
    """One system's figures over the headline clips, or over those of a group."""
    found = {}
    for figure, metric in FIGURES.items():
        value = metrics[metric]
        summary = value["groups"].get(group, {}) if group else value["summary"]
        found[figure] = summary.get(figure)
    return found


def verdict(name: str, target: float, value: float | None) -> dict[str, Any]:
    """Below the target for WER and RTF, above it for MOS and similarity; an unknown value does not pass."""
    if value is None:
        passed = False
    else:
        passed = value < target if name in LOWER_IS_BETTER else value > target
    return {"target": target, "value": value, "pass": passed}


def headline(metrics: dict[str, Any]) -> dict[str, float]:
    """The figures that the experiment tracker compares: `tuned_wer`, `base_wer`, `targets_met`, ..."""
    flat = {
        f"{system}_{name}": figures[name]
        for system, figures in metrics["systems"].items()
        for name in TARGETS
        if figures[name] is not None
    }
    return flat | {"targets_met": met(metrics)}


def met(metrics: dict[str, Any]) -> int:
    return sum(verdict["pass"] for verdict in metrics["targets"].values())
