"""What stays the same during a training: network, optimiser, samples and plan."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from sotaque import device
from sotaque.backends.protocol import Backend
from sotaque.errors import SettingsError
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings
from sotaque.training import bits, lora, method, sharding
from sotaque.training.batching import Plan, Samples
from sotaque.training.group import Group
from sotaque.training.method import Method


class Gate(Protocol):
    def check(self, network: nn.Module, step: int) -> float: ...


class Loss(nn.Module):
    """A backend's loss as a module, so that gradients of several processes come together behind it."""

    def __init__(self, backend: Backend, network: nn.Module):
        super().__init__()
        self.network, self._backend = network, backend

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return self._backend.loss(self.network, batch)


def _adamw(parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


@dataclass
class Trainer:
    """loss: the network's own loss, joined with those of the other processes of `group`."""

    settings: Settings
    backend: Backend
    method: Method
    network: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    train: Samples
    val: Samples
    plan: Plan
    dtype: torch.dtype
    group: Group
    gate: Gate | None = None

    @classmethod
    def build(
        cls,
        settings: Settings,
        spec: ModelSpec,
        backend: Backend,
        train: Samples,
        val: Samples,
        group: Group = Group(),  # noqa: B008, for it is frozen
    ) -> Trainer:
        how = settings.train
        dtype = device.precision(how.precision, backend.device)
        if how.packing and not backend.packs:
            raise SettingsError(
                f"params.yaml: train.packing is true, but backend {spec.backend} cannot put many clips in "
                "one sequence; set it to false"
            )
        if how.shard and (how.method != "full" or group.size == 1 or settings.gate.step):
            raise SettingsError(
                "params.yaml: train.shard is true, which is for train.method: full, train.processes of 2 and "
                "more, and gate.step: 0; set it to false"
            )
        chosen = method.choose(settings, backend, spec.lora_targets)
        network = chosen.network(dtype)
        if how.gradient_checkpointing:
            backend.checkpoint_gradients(network, True)
        loss = Loss(backend, network)
        if how.shard:
            loss = sharding.divided(loss, group.size, backend.device)
        else:  # a whole network may hold its codec, from which nothing is learnt
            loss = group.joined(loss, some_idle=how.method == "full")
        parameters = list(lora.trainable(network).values())
        make = bits.adamw if how.optimizer == "adamw8bit" else _adamw
        optimizer = make(parameters, lr=settings.lr, weight_decay=how.weight_decay)
        plan = Plan(train.lengths, how.batch_clips, how.accumulate, settings.epochs, settings.seed)
        return cls(settings, backend, chosen, network, loss, optimizer, train, val, plan, dtype, group)

    def listen_with(self, spec: ModelSpec, base: Path, splits: Path) -> None:
        """Set up the gate, if it is asked for; raises SettingsError when the training ends before it."""
        step, last = self.settings.gate.step, self.plan.steps
        if step > last:
            raise SettingsError(f"params.yaml: gate.step is {step}, but this training ends at step {last}")
        if step and self.group.leads:
            # Not by `import`: what the gate hears shapes no byte of a result, so its code is not train's.
            module = importlib.import_module("sotaque.training.gate")
            self.gate = module.Gate(self.settings, spec, self.backend, base, splits)
