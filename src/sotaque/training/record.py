"""training.json: what a training did, for the report and the model card.

It says nothing of time or machine, so equal trainings have equal records.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sotaque import files
from sotaque.errors import InputError

NAME = "training.json"


@dataclass(frozen=True)
class LoraRecord:
    """targets: names of modules, or one regular expression; modules_to_save: those trained whole beside."""

    rank: int
    alpha: int
    dropout: float
    rslora: bool
    dora: bool
    base_4bit: bool
    targets: tuple[str, ...] | str
    modules_to_save: tuple[str, ...]


@dataclass(frozen=True)
class TrainingRecord:
    """lora: None for full fine-tuning. steps: done, of planned_steps. epochs: passes over the clips, done.

    batch_clips, accumulate: of one optimizer step, over all processes. clips, minutes: trained on; skipped:
    left out. precision: of the forward pass; what is trained is float32. speakers: of the training clips.
    """

    method: Literal["lora", "full"]
    lora: LoraRecord | None
    trainable_parameters: int
    lr: float
    schedule: str
    warmup_share: float
    optimizer: str
    weight_decay: float
    clip_norm: float
    batch_clips: int
    accumulate: int
    packing: bool
    mask_prompt: bool
    precision: str
    seed: int
    steps: int
    planned_steps: int
    epochs: float
    clips: int
    minutes: float
    skipped: int
    speakers: tuple[str, ...]


def write(record: TrainingRecord, folder: Path) -> None:
    files.write_json(folder / NAME, dataclasses.asdict(record))


def read(folder: Path) -> TrainingRecord:
    """The record in the folder that `train` wrote; raises InputError when it is missing or damaged."""
    path = folder / NAME
    try:
        values = files.read_json(path)
        if values["lora"] is not None:
            values["lora"] = LoraRecord(**{key: _freeze(value) for key, value in values["lora"].items()})
        return TrainingRecord(**{key: _freeze(value) for key, value in values.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a record of a training ({error}); run train again") from None


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def describe(record: TrainingRecord) -> list[tuple[str, str]]:
    """Terms and details for a method section, in the order in which one would tell them."""
    return [
        ("Adaptation", _adaptation(record)),
        ("Optimization", _optimization(record)),
        ("Batches", _batches(record)),
        ("Training", _training(record)),
    ]


def _adaptation(record: TrainingRecord) -> str:
    size = f"{record.trainable_parameters:,} trainable parameters"
    lora = record.lora
    if lora is None:
        return f"full fine-tuning of every weight, {size}"
    kinds = ["LoRA"]
    if lora.base_4bit:
        kinds = ["QLoRA (LoRA on a base in 4 bits)"]
    if lora.dora:
        kinds.append("with DoRA")
    parts = [f"{' '.join(kinds)} of rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout:g}"]
    if lora.rslora:
        parts.append("rsLoRA: scaled by alpha / sqrt(rank)")
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    parts.append(f"on {targets}")
    if lora.modules_to_save:
        parts.append(f"trained whole beside it: {', '.join(lora.modules_to_save)}")
    return f"{'; '.join(parts)}; {size}"


def _optimization(record: TrainingRecord) -> str:
    name = {"adamw": "AdamW", "adamw8bit": "AdamW with moments in 8 bits"}[record.optimizer]
    return (
        f"{name}, peak learning rate {record.lr:g}, {record.schedule} schedule after a warm-up of "
        f"{record.warmup_share:.0%}, weight decay {record.weight_decay:g}, gradient norm at most "
        f"{record.clip_norm:g}"
    )


def _batches(record: TrainingRecord) -> str:
    clips = record.batch_clips * record.accumulate
    detail = f"{_count(clips, 'clip')} an optimizer step"
    if record.accumulate > 1:
        detail += f" ({record.batch_clips} at once, accumulated {record.accumulate} times)"
    if record.packing:
        detail += ", packed into one sequence"
    return f"{detail}; {'no loss on the text' if record.mask_prompt else 'loss on the text too'}"


def _training(record: TrainingRecord) -> str:
    steps = f"{_count(record.steps, 'step')}"
    if record.steps < record.planned_steps:
        steps += f" of {record.planned_steps:,} planned"
    skipped = f"; {_count(record.skipped, 'clip')} left out" if record.skipped else ""
    return (
        f"{steps}, {record.epochs:.3g} epochs over {_count(record.clips, 'clip')} of {record.minutes:.1f} min"
        f"{skipped}; {'mixed precision, ' if record.precision != 'float32' else ''}{record.precision}; "
        f"seed {record.seed}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
