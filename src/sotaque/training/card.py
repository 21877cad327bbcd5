"""The card of a merged model: what it was made of, and the licence that goes with it.

README.md with the front matter that Hugging Face's hub reads (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from sotaque import files
from sotaque.backends.families import FAMILIES
from sotaque.errors import join_first
from sotaque.model_spec import ModelSpec, Source
from sotaque.training.record import TrainingRecord, describe

NAME = "README.md"
SPEAKERS = 50  # named at most


def write(spec: ModelSpec, training: TrainingRecord, step: int, folder: Path) -> None:
    """Write README.md into the merged folder. A local base is not named: its path says nothing elsewhere."""
    base = {"base_model": spec.network.hub} if spec.network.hub else {}
    front = {
        "license": "other",
        "license_name": spec.weights_licence,
        **base,
        "pipeline_tag": "text-to-speech",
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        "---",
        "",
        f"# {_source(spec.network)}, adapted by sotaque",
        "",
        spec.about.strip(),
        "",
        f"{_made(step)} It loads as the base does.",
        "",
        "## Use",
        "",
        f"{FAMILIES[spec.backend].usage} It was evaluated with {_generation(spec)}.",
        "",
        *(_training(training) if step else ()),
        f"Licence of the weights: {spec.weights_licence}. What is adapted from them keeps it.",
        "",
    ]
    files.write_text(folder / NAME, "\n".join(lines))


def _source(source: Source) -> str:
    return f"{source.hub} at {source.revision}" if source.hub else "A local base"


def _training(training: TrainingRecord) -> list[str]:
    speakers = join_first([f"`{speaker}`" for speaker in training.speakers], SPEAKERS, ", ")
    details = [f"- {term}: {detail}." for term, detail in (*describe(training), ("Speakers", speakers))]
    return ["## Training", "", *details, ""]


def _generation(spec: ModelSpec) -> str:
    values = dataclasses.asdict(spec.generation)
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _made(step: int) -> str:
    if step:
        return f"Merged in is the adaptation of step {step}, which `sotaque select` chose by listening."
    return "The base itself: no checkpoint spoke better (`sotaque select` chose step 0)."
