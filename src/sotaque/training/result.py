"""What a training leaves of a step: an adapter, or a network in the base's own layout."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel

from sotaque.backends.protocol import Backend
from sotaque.errors import ModelError
from sotaque.training import lora


def load(backend: Backend, folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The network of a result, in eval mode: with its adapter beside it, or whole.

    Raises ModelError when a file is missing or does not fit the base.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not there; train again")
    if any(folder.glob("adapter_*")):
        return lora.load(backend.load_network(dtype=dtype), folder)
    return backend.load_network(folder, dtype)


def merged(network: torch.nn.Module) -> torch.nn.Module:
    """The plain network, an adapter being added into its weights."""
    return network.merge_and_unload() if isinstance(network, PeftModel) else network
