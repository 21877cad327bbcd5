"""What learns (`train.method`): an adapter beside the network, or the whole network.

The result of a step is a folder: a peft adapter, or a network in the base's own layout. The base may be
stored in fewer bits than what learns has, so a checkpoint keeps the weights of a whole network besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from sotaque.backends.protocol import Backend
from sotaque.settings import Settings
from sotaque.training import bits, lora
from sotaque.training.record import LoraRecord
from sotaque.training.sharding import gathered, part


class Method(Protocol):
    def network(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base, ready to learn in mixed precision of `dtype`."""
        ...

    def record(self) -> LoraRecord | None:
        """What the report is told of the adapter; None for a network that is trained whole."""
        ...

    def exact(self, network: torch.nn.Module, keep: bool) -> dict[str, torch.Tensor]:
        """What an exact resume needs and the result does not hold, for a process that keeps it."""
        ...

    def save(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        """Write the result, which result.py reads."""
        ...

    def restore(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        """Set what has learnt as it was when it was saved."""
        ...


class Adapter:
    """LoRA: the base stays as it is, in `dtype` or in 4 bits; the adapter is float32."""

    def __init__(self, backend: Backend, targets: str | tuple[str, ...], settings: Settings):
        self._backend, self._targets, self._settings = backend, targets, settings

    def network(self, dtype: torch.dtype) -> torch.nn.Module:
        plain = self._backend.load_network(dtype=dtype)
        if self._settings.lora.base_4bit:
            plain = bits.in_four(plain, self._targets, dtype)
        return lora.attach(self._backend, plain, self._targets, self._settings.lora, self._settings.seed)

    def record(self) -> LoraRecord:
        how, targets = self._settings.lora, self._targets
        return LoraRecord(
            rank=how.rank,
            alpha=how.alpha,
            dropout=how.dropout,
            rslora=how.rslora,
            dora=how.dora,
            base_4bit=how.base_4bit,
            targets=targets if isinstance(targets, str) else tuple(targets),
            modules_to_save=how.modules_to_save,
        )

    def exact(self, network: torch.nn.Module, keep: bool) -> dict[str, torch.Tensor]:
        return {}

    def save(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        lora.save(network, folder)

    def restore(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        lora.restore(network, load_file(folder / lora.WEIGHTS))


class Full:
    """Every weight learns, in float32 whatever the base is stored in."""

    def __init__(self, backend: Backend):
        self._backend = backend

    def network(self, dtype: torch.dtype) -> torch.nn.Module:
        return self._backend.load_network(dtype=torch.float32).requires_grad_(True)

    def record(self) -> None:
        return None

    def exact(self, network: torch.nn.Module, keep: bool) -> dict[str, torch.Tensor]:
        return gathered(network.named_parameters(), keep)

    def save(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        if any(isinstance(p, DTensor) for p in network.parameters()):
            network = self._backend.load_network(dtype=torch.float32)
            self.restore(network, folder, exact)
        self._backend.save_merged(network, folder)

    @torch.no_grad()
    def restore(self, network: torch.nn.Module, folder: Path, exact: dict[str, torch.Tensor]) -> None:
        for name, parameter in network.named_parameters():
            parameter.copy_(part(exact[name], parameter))


def choose(settings: Settings, backend: Backend, targets: str | tuple[str, ...]) -> Method:
    if settings.train.method == "full":
        return Full(backend)
    return Adapter(backend, targets, settings)
