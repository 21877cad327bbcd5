"""`sotaque summary`: the table of results, the targets, and where the report is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.evaluation.page.words import NAMES, SIGNS
from sotaque.settings import Settings
from sotaque.stages import SYSTEMS

STARTED = Path("scratch/demo-started")


def run(settings: Settings) -> int:
    """Print what results/<model>/metrics.json says; exit status 1 when it is not there yet."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    results = Path("results") / settings.model
    if not (results / "metrics.json").exists():
        missing = f"{results}/metrics.json: not made yet"
        console.print(f"{missing}; run make demo, snakemake --cores all or dvc repro", markup=False)
        return 1
    metrics = files.read_json(results / "metrics.json")
    console.print(table(f"{metrics['model']}: the test clips", metrics["systems"]))
    for group, systems in metrics["groups"].items():
        console.print(table(f"group “{group}”", systems))
    for line in verdicts(metrics["targets"]):
        console.print(line, markup=False)
    console.print(f"report: {results}/report.html", markup=False)
    if STARTED.exists():
        console.print(elapsed(float(STARTED.read_text()), time.time()), markup=False)
    return 0


def table(title: str, systems: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title), title_justify="left")
    made.add_column("system")
    for name in ("WER (95 %)", "CER", "MOS", "similarity", "RTF", "clips", "failed"):
        made.add_column(name, justify="right")
    for name in (system for system in SYSTEMS if system in systems):
        row = systems[name]
        made.add_row(
            name, _wer(row), _figure(row["cer"], 3), _figure(row["mos"]), _figure(row["similarity"]),
            _figure(row["rtf"]), str(row["clips"]), str(row["failed"]),
        )  # fmt: skip
    return made


def _figure(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _wer(row: dict[str, Any]) -> str:
    if row["wer"] is None:
        return "–"
    return f"{row['wer']:.3f} ({row['wer_low']:.2f}–{row['wer_high']:.2f})"


def verdicts(targets: dict[str, Any]) -> list[str]:
    """One line a target, of the tuned system."""
    return [
        f"{'met    ' if t['pass'] else 'not met'}  tuned {NAMES[name]} {_figure(t['value'], 3)}, "
        f"target {SIGNS[name]} {t['target']:g}"
        for name, t in ((name, targets[name]) for name in NAMES if name in targets)
    ]


def elapsed(started: float, now: float) -> str:
    minutes, seconds = divmod(max(0, round(now - started)), 60)
    return f"the demonstration took {minutes} min {seconds:02d} s"
