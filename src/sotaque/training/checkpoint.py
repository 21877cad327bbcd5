"""Unfinished training on disk: everything that an exact resume needs, and proof that it is whole.

<scratch>/origin.json says what the training is made from; its checksum names the folder, so that other
settings, code or data never go on from these checkpoints. <scratch>/step-NNNNNN/ holds result/ (an adapter,
or a network), optimizer.safetensors, what else its method needs to go on exactly in weights.safetensors,
and, written last, state.json with the checksums of all. The two newest can be gone on from; of the older
ones the result is enough. Random numbers and the order of samples are functions of (seed, step), so they
need no state.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sotaque import files
from sotaque.training import lora
from sotaque.training.method import Method
from sotaque.training.sharding import gathered, part

log = logging.getLogger("sotaque")

RESULT, STATE, ORIGIN = "result", "state.json", "origin.json"
OPTIMIZER, WEIGHTS = "optimizer.safetensors", "weights.safetensors"
RESUMABLE = 2  # checkpoints that keep these two


@dataclass
class Progress:
    """How far a training is.

    tokens: labels learnt from so far. history: rows of losses.jsonl. saved: steps whose weights are a
    result; a run that was asked to stop has a checkpoint of its last step besides. failed: for each step
    whose loss was not finite, the ids of its samples.
    """

    step: int = 0
    tokens: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)


class Scratch:
    """The checkpoints of one training: <root>/<checksum of what it is made from>/.

    method: what learns in it; needed to save and to restore. writes: of several processes, the first.
    """

    def __init__(self, root: Path, origin: dict[str, Any], method: Method | None = None, writes: bool = True):
        self.origin, self._method, self._writes = origin, method, writes
        self.folder = root / files.sha256_of(origin)[:16]

    def result(self, step: int) -> Path:
        return self.folder / lora.step_name(step) / RESULT

    def save(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """A checkpoint; every process of a divided network must call it, and only the first writes."""
        moments, exact = _tensors(optimizer, self._writes), self._method.exact(network, self._writes)
        if not self._writes:
            return
        if not (self.folder / ORIGIN).exists():
            files.write_json(self.folder / ORIGIN, self.origin)
        with files.atomic_folder(self.folder / lora.step_name(progress.step)) as folder:
            self._method.save(network, folder / RESULT, exact)
            files.save_tensors(moments, folder / OPTIMIZER)
            if exact:
                files.save_tensors(exact, folder / WEIGHTS)
            sums = {p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)}
            state = {"progress": asdict(progress), "sha256": sums}
            files.write_json(folder / STATE, state | {"own_sha256": files.sha256_of(state)})
        self._tidy(progress)

    def _tidy(self, progress: Progress) -> None:
        """Old optimisers go, and checkpoints that this run has passed or made again."""
        wanted = sorted({*progress.saved, progress.step})
        for step in lora.steps(self.folder):
            folder = self.folder / lora.step_name(step)
            if step not in wanted:
                shutil.rmtree(folder)
            elif step not in wanted[-RESUMABLE:]:
                for name in (OPTIMIZER, WEIGHTS):
                    (folder / name).unlink(missing_ok=True)

    def newest(self) -> Progress | None:
        """The newest position from which the run can go on with all its results whole."""
        found = lora.steps(self.folder) if self.folder.is_dir() else []
        for step in reversed(found):
            try:
                progress = self._whole(step, resumable=True)
                for earlier in progress.saved:
                    self._whole(earlier)
                return progress
            except ValueError as fault:
                log.warning("train: step %d cannot be gone on from: %s; trying the one before", step, fault)
        return None

    def restore(self, step: int, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        folder = self.folder / lora.step_name(step)
        exact = load_file(folder / WEIGHTS) if (folder / WEIGHTS).exists() else {}
        self._method.restore(network, folder / RESULT, exact)
        optimizer.load_state_dict(_state(optimizer, load_file(folder / OPTIMIZER)))

    def others(self) -> Iterator[tuple[Path, int, list[str]]]:
        """Unfinished trainings of the same model: folder, newest step, and what was different."""
        for path in sorted(self.folder.parent.glob(f"*/{ORIGIN}")):
            steps = lora.steps(path.parent)
            if path.parent == self.folder or not steps:
                continue
            with contextlib.suppress(ValueError):  # damaged: nobody will go on from it
                origin = files.read_json(path)
                if origin.keys() == self.origin.keys():
                    yield path.parent, steps[-1], differences(origin, self.origin)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self, step: int, resumable: bool = False) -> Progress:
        """Raises ValueError naming the file that is not as it was saved."""
        folder = self.folder / lora.step_name(step)
        try:
            state = files.read_json(folder / STATE)
            own = state.pop("own_sha256")
            progress, sums = Progress(**state["progress"]), dict(state["sha256"])
            whole = own == files.sha256_of(state) and all(type(step) is int for step in progress.saved)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise ValueError(f"{folder / STATE} is damaged or missing")
        for name, expected in sums.items():
            path = folder / name
            if name in (OPTIMIZER, WEIGHTS) and not resumable:
                continue
            try:
                is_as_saved = path.is_file() and files.sha256(path) == expected
            except OSError:  # a name that no file system can have
                is_as_saved = False
            if not is_as_saved:
                raise ValueError(f"{folder / name[:255]} is damaged or missing")
        return progress


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """One line for each value of nested mappings that is not the same; checksums are not shown."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in differences(before.get(key), now.get(key), f"{where} {key}".strip())
        ]
    if before == now:
        return []
    if all(value is None or (isinstance(value, str) and len(value) == 64) for value in (before, now)):
        return [f"{where} {'is new' if before is None else 'is gone' if now is None else 'has changed'}"]
    return [f"{where} was {before}, is {now}"]


def _tensors(optimizer: torch.optim.Optimizer, keep: bool) -> dict[str, torch.Tensor]:
    """The optimiser's state as flat tensors: "<parameter's number>.<name>"; whole numbers as int64."""
    state = optimizer.state_dict()["state"]
    return gathered(
        (
            (f"{number}.{name}", torch.as_tensor(value))
            for number, values in state.items()
            for name, value in _flat(values)
        ),
        keep,
    )


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """bitsandbytes wraps what it quantises in a dictionary within, and takes it back without."""
    for name, value in values.items():
        yield from value.items() if isinstance(value, dict) else [(name, value)]


def _state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The same, for `optimizer` to load."""
    state: dict[int, dict[str, Any]] = {}
    parameters = optimizer.param_groups[0]["params"]
    for key, value in tensors.items():
        number, name = key.split(".")
        found = int(value) if value.dtype == torch.int64 else part(value, parameters[int(number)])
        state.setdefault(int(number), {})[name] = found
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
