"""Gather everything into one page, metrics.json and the curves for `dvc plots`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque.errors import InputError
from sotaque.evaluation import curves, parts
from sotaque.evaluation.page import render
from sotaque.evaluation.page.words import JUDGED
from sotaque.metrics import TRANSCRIPTS, failures, registry, targets
from sotaque.settings import Settings
from sotaque.stages import METRICS, SYSTEMS
from sotaque.training import record

COMPARED_WITH = ("base", "codec")


def run(
    settings: Settings, *, model: Path, manifest: Path, quality: Path, splits: Path, base: Path, lora: Path,
    selected: Path, results: Path, out: Path,
) -> dict[str, float]:  # fmt: skip
    """Write report.html, metrics.json, headline.json, plots/{loss,selection}.csv; returns the headline."""
    found = read_results(results)
    losses, selection = curves.read_losses(lora), curves.read_selection(selected)
    choice = {"step": selection.step, "reason": selection.reason, "warnings": list(selection.warnings)}
    metrics = collect(settings, found) | {"checkpoint": choice, "splits": parts.fingerprints(splits)}
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
    """The content of metrics.json.

    systems: each system's figures. targets: the verdicts on the tuned one. differences: tuned minus base and
    tuned minus codec, paired. groups: the figures of each named group.
    """
    systems = {system: figures(metrics) for system, metrics in results.items()}
    names = sorted({name for metrics in results.values() for name in metrics[TRANSCRIPTS]["groups"]})
    return {
        "model": settings.model,
        "systems": systems,
        "targets": {
            column.target: targets.judge(column, getattr(settings.targets, column.target), systems[JUDGED])
            for _, column in registry.columns()
            if column.target
        },
        "differences": {
            f"{JUDGED} minus {other}": differences(results[JUDGED], results[other]) for other in COMPARED_WITH
        },
        "groups": {
            name: {system: figures(metrics, name) for system, metrics in results.items()} for name in names
        },
    }


def figures(metrics: dict[str, Any], group: str = "") -> dict[str, Any]:
    """One system's figures over the headline clips, or over those of a group.

    Beside every column with its interval: clips, failed, failures by kind, and how the intervals were made.
    """
    found: dict[str, Any] = {"intervals": {}}
    for metric, column in registry.columns():
        summary = _summary(metrics[metric], group)
        found |= {f"{column.name}{end}": summary.get(f"{column.name}{end}") for end in ("", "_low", "_high")}
        method = summary.get("intervals", {}).get(column.name, targets.NO_VALUE)
        found["intervals"][column.name] = method
    rows = [row for row in metrics[TRANSCRIPTS]["rows"] if row["group"] == group]
    counts = failures.count(row["failure"] for row in rows)
    return found | {"clips": len(rows), "failed": sum(counts.values()), "failures": counts}


def _summary(metric: dict[str, Any], group: str) -> dict[str, Any]:
    return metric["groups"].get(group, {}) if group else metric["summary"]


def differences(metrics: dict[str, Any], other: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Column -> the paired difference of two systems over the headline clips, see registry.difference."""

    def rows(side: dict[str, Any], metric: str) -> list[dict[str, Any]]:
        return [row for row in side[metric]["rows"] if not row["group"]]

    return {
        column.name: registry.difference(column, rows(metrics, metric), rows(other, metric))
        for metric, column in registry.columns()
    }


def headline(metrics: dict[str, Any]) -> dict[str, float]:
    """The figures that the experiment tracker compares: `tuned_wer`, `base_wer`, `targets_met`, ..."""
    names = [column.name for _, column in registry.columns() if column.headline]
    flat = {
        f"{system}_{name}": row[name]
        for system, row in metrics["systems"].items()
        for name in (*names, "failed")
        if row[name] is not None
    }
    return flat | {"targets_met": met(metrics)}


def met(metrics: dict[str, Any]) -> int:
    return sum(verdict["state"] == targets.MET for verdict in metrics["targets"].values())
