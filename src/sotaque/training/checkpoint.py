"""Unfinished training on disk: everything that an exact resume needs, and proof that it is whole.

<scratch>/step-NNNNNN/ holds adapter/, optimizer.safetensors and, written last, state.json with the
checksums of the others. The two newest keep their optimiser; of the older ones the adapter is enough.
Random numbers and the order of samples are functions of (seed, step), so they need no state.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from sotaque import files
from sotaque.training import lora

log = logging.getLogger("sotaque")

ADAPTER, OPTIMIZER, STATE = "adapter", "optimizer.safetensors", "state.json"
RESUMABLE = 2


@dataclass
class Progress:
    """How far a training is.

    tokens: labels learnt from so far. history: rows of losses.jsonl. saved: steps with a checkpoint.
    failed: for each step whose loss was not finite, the ids of its samples.
    """

    step: int = 0
    tokens: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)


class Scratch:
    """The checkpoints of one training, known by its key."""

    def __init__(self, folder: Path):
        self.folder = folder

    def adapter(self, step: int) -> Path:
        return self.folder / lora.step_name(step) / ADAPTER

    def save(self, network: PeftModel, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        with files.atomic_folder(self.folder / lora.step_name(progress.step)) as folder:
            lora.save(network, folder / ADAPTER)
            save_file(_tensors(optimizer), folder / OPTIMIZER)
            sums = {p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)}
            files.write_json(folder / STATE, {"progress": asdict(progress), "sha256": sums})
        for step in progress.saved[:-RESUMABLE]:
            (self.folder / lora.step_name(step) / OPTIMIZER).unlink(missing_ok=True)

    def newest(self) -> Progress | None:
        """The newest position from which the run can go on with all its adapters whole."""
        found = lora.steps(self.folder) if self.folder.is_dir() else []
        for step in reversed(found):
            progress = self._whole(step, with_optimizer=True)
            if progress and all(self._whole(earlier) for earlier in progress.saved):
                return progress
            log.warning(
                "%s: damaged or incomplete; trying the one before", self.folder / lora.step_name(step)
            )
        return None

    def restore(self, step: int, network: PeftModel, optimizer: torch.optim.Optimizer) -> None:
        folder = self.folder / lora.step_name(step)
        lora.restore(network, load_file(folder / ADAPTER / lora.WEIGHTS))
        optimizer.load_state_dict(_state(optimizer, load_file(folder / OPTIMIZER)))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self, step: int, with_optimizer: bool = False) -> Progress | None:
        folder = self.folder / lora.step_name(step)
        try:
            state = files.read_json(folder / STATE)
            for name, expected in state["sha256"].items():
                if (with_optimizer or name != OPTIMIZER) and files.sha256(folder / name) != expected:
                    return None
            return Progress(**state["progress"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as flat tensors: "<parameter's number>.<name>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value.detach().cpu().contiguous()
        for number, values in state.items()
        for name, value in values.items()
    }


def _state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
