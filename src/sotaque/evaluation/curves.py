"""The curves of a training run: losses by step, and what the selection heard of each checkpoint."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.errors import InputError


@dataclass(frozen=True)
class Loss:
    """Mean losses in nats per audio token at one step; None where one was not measured."""

    step: int
    train_nats: float | None = None
    val_nats: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One checkpoint as `select` judged it; step 0 is the base.

    duration_ratio: seconds of its speech to seconds of the recordings. failed: clips that failed.
    score: what decides between checkpoints that are alike in failures and targets.
    """

    step: int
    wer: float | None = None
    similarity: float | None = None
    duration_ratio: float | None = None
    failed: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Selection:
    """The checkpoint that was chosen (0: the base), all candidates, why, and what to beware of."""

    step: int
    candidates: tuple[Candidate, ...]
    reason: str = ""
    warnings: tuple[str, ...] = ()


def read_losses(lora: Path) -> list[Loss]:
    """The losses in `<lora>/losses.jsonl`, by step."""
    path = lora / "losses.jsonl"
    try:
        rows = [files.parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [_known(Loss, row) for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not the losses of a training run: {error!r}; run sotaque train") from None


def read_selection(selected: Path) -> Selection:
    """models/<model>/selected.json as `select` wrote it."""
    try:
        value = files.read_json(selected)
        candidates = tuple(_known(Candidate, row) for row in value["candidates"])
        warnings = tuple(value.get("warnings", ()))
        return Selection(value["step"], candidates, value.get("reason", ""), warnings)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{selected}: not the choice of a checkpoint: {error!r}; run sotaque select"
        ) from None


def to_csv(kind: type, rows: Iterable[Any]) -> str:
    """Dataclass rows under a header of their fields; an unknown value is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([f.name for f in fields(kind)])
    writer.writerows(astuple(row) for row in rows)
    return stream.getvalue()


def _known(kind: type, values: dict[str, Any]) -> Any:
    """A row of `kind` from those of the values that it has a field for."""
    names = {f.name for f in fields(kind)}
    if not isinstance(values, dict):
        raise ValueError(f"found {str(values)[:80]!r}, expected an object")
    return kind(**{key: value for key, value in values.items() if key in names})
