"""`sotaque summary`: the table of results, the targets, and where the report is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.evaluation.page import words
from sotaque.metrics import registry
from sotaque.settings import Settings
from sotaque.stages import SYSTEMS

STARTED = Path("scratch/demo-started")


def run(settings: Settings, model: str | None = None) -> int:
    """Print what results/<model>/metrics.json says; exit status 1 when it is not there yet.

    model: that of the parameters unless named.
    """
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    results = Path("results") / (model or settings.model)
    if not (results / "metrics.json").exists():
        missing = f"{results}/metrics.json: not made yet"
        console.print(f"{missing}; run make demo, snakemake --cores all or dvc repro", markup=False)
        return 1
    metrics = files.read_json(results / "metrics.json")
    console.print(table(f"{metrics['model']}: the test clips", metrics["systems"]))
    for group, systems in metrics["groups"].items():
        console.print(table(f"group “{group}”", systems))
    for line in (*words.targets(metrics["targets"]), *words.differences(metrics["differences"])):
        console.print(line, markup=False)
    checkpoint = metrics["checkpoint"]
    console.print(f"checkpoint: {checkpoint['reason']}", markup=False)
    for warning in checkpoint["warnings"]:
        console.print(f"warning: {warning}", markup=False)
    console.print(f"report: {results}/report.html", markup=False)
    if STARTED.exists():
        console.print(elapsed(float(STARTED.read_text()), time.time()), markup=False)
    return 0


def table(title: str, systems: dict[str, Any]) -> Any:
    """A row a system: every figure over its 95 % interval, and how many clips failed, by kind."""
    from rich.table import Table
    from rich.text import Text

    columns = [column for _, column in registry.columns()]
    made = Table(title=Text(title), title_justify="left", caption="below a figure: its 95 % interval")
    made.add_column("system")
    for name in (*(column.label for column in columns), "clips", "failed"):
        made.add_column(name, justify="right")
    for name in (system for system in SYSTEMS if system in systems):
        row = systems[name]
        cells = [f"{words.figure(row, column)}\n{words.interval(row, column)}" for column in columns]
        made.add_row(name, *cells, str(row["clips"]), words.failed(row))
    return made


def elapsed(started: float, now: float) -> str:
    minutes, seconds = divmod(max(0, round(now - started)), 60)
    return f"the demonstration took {minutes} min {seconds:02d} s"
