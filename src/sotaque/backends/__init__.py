"""Loads a model family by its name; a family's module is imported when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sotaque.backends.families import FAMILIES, Learning
from sotaque.errors import ModelError

if TYPE_CHECKING:
    import torch

    from sotaque.backends.protocol import Backend


def load(name: str, base: Path, device: torch.device, learning: Learning | None = None) -> Backend:
    """The backend `name` over the folder that `fetch` made; learning: where it is to train, and how.

    Raises ModelError, with the command to type, when a package that the family needs is not installed.
    """
    family = FAMILIES[name]
    missing = [package for package in family.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(
            f"backend {name} needs the Python package {', '.join(missing)}, which is not installed; "
            f"type: {family.install}"
        )
    backend = importlib.import_module(f"sotaque.backends.{name}").Backend(base, device)
    if learning is not None:
        backend.learning = learning
    return backend
