"""The history of a training, row by row: losses.jsonl, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sotaque import files

COLUMNS = ("step", "train_nats", "val_nats", "lr", "tokens")
Row = dict[str, Any]


def row(step: int, train_nats: float | None, val_nats: float | None, lr: float, tokens: int) -> Row:
    """Losses in nats per label, None where not measured; tokens: labels learnt from so far."""
    return dict(zip(COLUMNS, (step, train_nats, val_nats, lr, tokens), strict=True))


def measured(history: Sequence[Row]) -> list[float]:
    """The validation losses, by step."""
    return [one["val_nats"] for one in history if one["val_nats"] is not None]


def worn_out(history: Sequence[Row], patience: int) -> bool:
    """Whether the last `patience` validations were no better than the best before them; 0: never."""
    found = measured(history)
    return 0 < patience < len(found) and min(found[-patience:]) >= min(found[:-patience])


def write(history: Sequence[Row], path: Path) -> None:
    rows = [{name: one[name] for name in COLUMNS} for one in history]
    files.write_text(path, "".join(json.dumps(one, allow_nan=False) + "\n" for one in rows))
