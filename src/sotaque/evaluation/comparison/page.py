"""compare.html: one table of all models, how each was made, and the same few sentences from each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sotaque.evaluation.comparison.entry import Entry
from sotaque.evaluation.page import clips, words
from sotaque.evaluation.page.render import ABOUT_SYSTEMS
from sotaque.manifest import Utterance
from sotaque.metrics import registry
from sotaque.page import spectrogram, template
from sotaque.settings import Settings
from sotaque.training import record

TEMPLATE = Path(words.__file__).parent / "compare.html"
RECORDINGS = "reference"


def html(
    settings: Settings,
    entries: Sequence[Entry],
    differences: dict[str, dict[str, Any]],
    chosen: Sequence[Utterance],
) -> str:
    """differences: name -> column -> paired difference. chosen: the test clips that get players."""
    columns = [column for _, column in registry.columns()]
    scores = {RECORDINGS: clips.by_id(entries[0].results["reference"])}
    folders = {RECORDINGS: Path(f"results/{entries[0].model}/wav/reference")}
    for entry in entries:
        column = f"{entry.model}, {words.JUDGED}"
        scores[column] = clips.by_id(entry.results[words.JUDGED])
        folders[column] = Path(f"results/{entry.model}/wav/{words.JUDGED}")
    return template.fill(
        TEMPLATE,
        {
            "rows": {entry.model: entry.row() for entry in entries},
            "splits": entries[0].metrics["splits"],
            "about_systems": ABOUT_SYSTEMS,
            "parameters": words.parameters,
            "duration": words.duration,
            "made": {entry.model: how_made(entry) for entry in entries},
            "figure_columns": columns,
            "interval": words.interval,
            "failed": words.failed,
            "differences": {
                name: [words.difference(column, found[column.name]) for column in columns]
                for name, found in differences.items()
            },
            "clip_columns": clips.columns(),
            "judged": words.JUDGED,
            "clips": [clips.row(utterance, scores, folders) for utterance in chosen],
            "columns": list(scores),
            "sorts": clips.sorts(scores, "as drawn"),
            "spectrogram_top_khz": spectrogram.TOP_HZ // 1000,
            "targets": [
                f"{column.label} {column.sign} {getattr(settings.targets, column.target):g}"
                for column in columns
                if column.target
            ],
        },
    )


def how_made(entry: Entry) -> list[tuple[str, str]]:
    """Terms and details of one model."""
    row = entry.row()
    return [
        ("Family", row["backend"]),
        ("Licence of the weights", row["weights_licence"]),
        ("Text as the model reads it", "; ".join(f"{k}: {form}" for k, form in row["text"].items())),
        *record.describe(entry.training),
        ("Selected", f"step {entry.selected_step}"),
        *words.own(row["learning"], row["generation"]),
        *row["measured"].items(),
    ]
