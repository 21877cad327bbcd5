"""Measure one system by one metric: every clip's row, the headline and each named group beside it.

Figures are null where they have no meaning. What a metric is, see metrics/registry.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque.metrics import registry
from sotaque.metrics.context import Context, utterances_of
from sotaque.settings import Settings

WAY_OUT = (
    "It hears one clip at a time: lower normalize.max_s if clips are very long, or end other programs that "
    "hold memory; then the same command again"
)


def run(
    settings: Settings, *, model: Path, splits: Path, base: Path, network: Path, wav: Path,
    system: str, metric: str, out: Path,
) -> dict[str, float]:  # fmt: skip
    """Write `<out>.json`; returns the headline figures that are not null."""
    from sotaque import device

    context = Context(
        settings=settings, spec=model_spec.read(model.stem), system=system, base=base, network=network,
        wav=wav, utterances=utterances_of(splits, "test"), train=utterances_of(splits, "train"),
        device=device.prepare(settings.evaluate.threads),
    )  # fmt: skip
    with device.enough_memory(f"evaluate {metric} of {system}", WAY_OUT):
        value = measure(context, metric)
    files.write_json(Path(f"{out}.json"), value)
    return {name: figure for name, figure in value["summary"].items() if isinstance(figure, int | float)}


def measure(context: Context, metric: str) -> dict[str, Any]:
    """The content of `<metric>.json`. The headline is of the utterances that belong to no group."""
    declared = registry.get(metric)
    scores = declared.score(context)

    def summary(group: str) -> dict[str, Any]:
        rows = [row for row in scores.rows if row["group"] == group]
        without_speech = sum(row["status"] == "failed" for row in rows)
        counts = {"clips": len(rows), "without_speech": without_speech}
        return registry.summarize(declared, rows) | counts

    return {
        "system": context.system,
        "metric": metric,
        "method": scores.method,
        "summary": summary(""),
        "groups": {group: summary(group) for group in sorted({r["group"] for r in scores.rows} - {""})},
        "rows": scores.rows,
    }
