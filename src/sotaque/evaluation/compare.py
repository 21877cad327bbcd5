"""`sotaque compare`: several models, trained on the same splits, in one table and on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sotaque import files, manifest, model_spec
from sotaque.errors import InputError, SettingsError
from sotaque.evaluation import parts, report, summary
from sotaque.evaluation.comparison import alike, chains, entry, page
from sotaque.evaluation.comparison.entry import Entry
from sotaque.evaluation.page import words
from sotaque.manifest import Utterance
from sotaque.metrics.similarity import hash_order
from sotaque.settings import MODELS, Settings

RESULTS = Path("results")
SPLITS = Path("data/splits")


def run(settings: Settings, make: int | None = None) -> int:
    """Write results/compare.html and compare.json, and print the table; the models are `compare.models`.

    make: first make what is missing of each model's chain, by Snakemake on so many cores. Raises
    SettingsError for models that cannot be named so, InputError for one without a report or whose splits or
    measures are not those of the first.
    """
    models = settings.compare.models
    check_names(models)
    if make is not None:
        chains.make(settings, models, make)
    entries = entry.read(settings, models)
    alike.check(entries)
    chosen = sentences(entries[0], settings.compare.clips)
    differences = {
        f"{other.model} minus {entries[0].model}, both tuned": report.differences(
            other.results[words.JUDGED], entries[0].results[words.JUDGED]
        )
        for other in entries[1:]
    }
    value = {
        "splits": entries[0].metrics["splits"],
        "models": {one.model: one.row() for one in entries},
        "differences": differences,
    }
    files.write_json(RESULTS / "compare.json", value)
    files.write_text(RESULTS / "compare.html", page.html(settings, entries, differences, chosen))
    _print(entries, differences)
    return 0


def check_names(models: Sequence[str]) -> None:
    """Raises SettingsError naming what is wrong in compare.models."""
    known = sorted(path.stem for path in MODELS.glob("*.yaml"))
    unknown = [model for model in models if model not in known]
    twice = sorted({model for model in models if models.count(model) > 1})
    if not models or unknown or twice:
        found = (
            f"names {', '.join(unknown)}"
            if unknown
            else f"names {', '.join(twice)} twice"
            if twice
            else "is empty"
        )
        raise SettingsError(
            f"params.yaml: compare.models {found}; expected different files of {MODELS}/: {', '.join(known)}"
        )
    for model in models:
        model_spec.read(model)


def sentences(first: Entry, count: int) -> list[Utterance]:
    """A sample by hash of the test clips that all models spoke, whatever became of them.

    Raises InputError when data/splits is of other clips than the models.
    """
    if parts.fingerprints(SPLITS)["test"] != first.metrics["splits"]["test"]:
        raise InputError(
            f"{SPLITS}/test.jsonl: other clips than those that {first.model} was heard on; "
            f"make them all from the same data: snakemake --cores all compare"
        )
    utterances = manifest.read(SPLITS / "test.jsonl")
    return hash_order(u for u in utterances if not u.group)[:count]


def _print(entries: Sequence[Entry], differences: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 110, highlight=False)
    for one in entries:
        title = (
            f"{one.model}: {words.parameters(one.parameters)}, trained in {words.duration(one.training_s)}, "
            f"{one.spec.weights_licence}"
        )
        console.print(summary.table(title, one.metrics["systems"]))
    for line in (*words.differences(differences), f"page: {RESULTS}/compare.html"):
        console.print(line, markup=False)
