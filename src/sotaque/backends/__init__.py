"""The model families by name; a family's module is imported when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from sotaque.backends.protocol import Backend

MODULES = {"orpheus": "sotaque.backends.orpheus"}


def load(name: str, base: Path, device: torch.device) -> Backend:
    """The backend `name` over the folder that `fetch` made."""
    return importlib.import_module(MODULES[name]).Backend(base, device)
