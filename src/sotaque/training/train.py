"""Adapt the base model by LoRA: one loop, from top to bottom in `fit`.

A step's samples, its learning rate and its random numbers are functions of (seed, step); the rest of the
state lies in scratch/train/<key>, and the key is the checksum of everything that the result depends on.
So a run that was killed goes on from its last checkpoint and ends with the bytes it would have had.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from sotaque import backends, device, files, manifest, model_spec, seal
from sotaque import settings as settings_module
from sotaque.backends.protocol import IGNORED, Backend
from sotaque.data.tokenize import Tokens
from sotaque.errors import InputError, ModelError
from sotaque.model_spec import ModelSpec
from sotaque.progress import counter
from sotaque.settings import Settings
from sotaque.stages import STAGES
from sotaque.training import lora, tracking
from sotaque.training.batching import Plan, Samples, in_order
from sotaque.training.checkpoint import Progress, Scratch

log = logging.getLogger("sotaque")

SCRATCH = Path("scratch/train")
LOSSES = ("step", "train_nats", "val_nats", "lr", "tokens")
LOG_EVERY_STEPS = 10
FAILED_STEPS = 3


def run(
    settings: Settings, *, model: Path, splits: Path, tokens: Path, base: Path, out: Path
) -> dict[str, float]:
    """Write out/step-NNNNNN/ (peft adapters), out/losses.jsonl and out/skipped.jsonl."""
    spec = model_spec.read(model.stem)
    backend = backends.load(spec.backend, base, device.prepare(settings.train.threads))
    train, val = _samples(settings, backend, splits, tokens, base)
    trainer = Trainer.build(settings, spec, backend, train, val)
    scratch = Scratch(SCRATCH / _key(settings, spec, splits, tokens, base)[:16])
    started = time.monotonic()
    progress, learnt = fit(trainer, scratch)
    seconds = time.monotonic() - started
    _publish(scratch, progress, [*train.skipped, *val.skipped], out)
    scratch.remove()
    measured = [row["val_nats"] for row in progress.history if row["val_nats"] is not None]
    return {
        "steps": progress.step,
        "tokens": progress.tokens,
        "tokens_per_s": learnt / seconds,
        "val_loss_nats": measured[-1],
        "val_loss_nats_of_base": measured[0],
        "skipped": len(train.skipped) + len(val.skipped),
        "failed_steps": len(progress.failed),
        "trainable_parameters": sum(p.numel() for p in lora.trainable(trainer.network).values()),
    }


@dataclass
class Trainer:
    """What stays the same during a run."""

    settings: Settings
    backend: Backend
    network: PeftModel
    optimizer: torch.optim.Optimizer
    train: Samples
    val: Samples
    plan: Plan
    dtype: torch.dtype

    @classmethod
    def build(
        cls, settings: Settings, spec: ModelSpec, backend: Backend, train: Samples, val: Samples
    ) -> Trainer:
        how = settings.train
        dtype = device.precision(how.precision, backend.device)
        plain = backend.load_network(dtype=dtype)
        network = lora.attach(backend, plain, spec.lora_targets, settings.lora, settings.seed)
        if how.gradient_checkpointing:
            plain.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        parameters = list(lora.trainable(network).values())
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=how.weight_decay)
        plan = Plan(train.lengths, how.batch_clips, how.accumulate, settings.epochs, settings.seed)
        return cls(settings, backend, network, optimizer, train, val, plan, dtype)


def fit(trainer: Trainer, scratch: Scratch) -> tuple[Progress, int]:
    """Train from the newest checkpoint to the end.

    Returns how far it came and the tokens learnt from in this process. Raises ModelError after three
    steps whose loss or gradient was not finite.
    """
    progress = scratch.newest()
    if progress is None:
        progress = Progress()
        progress.history.append(_row(0, None, validate(trainer), 0.0, 0))
    else:
        scratch.restore(progress.step, trainer.network, trainer.optimizer)
        log.info("train: going on from step %d", progress.step)
    before, started = progress.tokens, time.monotonic()
    plan, how = trainer.plan, trainer.settings.train
    with counter("train", plan.steps, progress.step) as advance:
        while progress.step < plan.steps:
            step = progress.step = progress.step + 1
            batches = plan.batches(step)
            rate = learning_rate(step, plan.steps, trainer.settings.lr, how.warmup_share)
            loss, tokens = take_step(trainer, batches, step, rate)
            if loss is None:
                _note_failure(progress, [trainer.train.id(i) for batch in batches for i in batch])
            progress.tokens += tokens
            saving = step % how.save_every_steps == 0 or step == plan.steps
            progress.history.append(
                _row(step, loss, validate(trainer) if saving else None, rate, progress.tokens)
            )
            if saving:
                progress.saved.append(step)
                scratch.save(trainer.network, trainer.optimizer, progress)
            if saving or step % LOG_EVERY_STEPS == 0:
                values = {k: v for k, v in progress.history[-1].items() if k != "step" and v is not None}
                tracking.log_metrics(values, step)
            speed = (progress.tokens - before) / (time.monotonic() - started)
            advance(f"loss {loss if loss is not None else math.nan:.3f} nats, {speed:.0f} tokens/s")
    return progress, progress.tokens - before


def take_step(
    trainer: Trainer, batches: Sequence[np.ndarray], step: int, rate: float
) -> tuple[float | None, int]:
    """One optimiser step over all its batches: (mean loss in nats per label, number of labels).

    The loss is None, and nothing has changed, when it or the gradient was not finite.
    """
    seed = np.random.SeedSequence([trainer.settings.seed, step]).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(seed))
    trainer.network.train()
    trainer.optimizer.zero_grad(set_to_none=True)
    collated = [trainer.backend.collate([trainer.train[i] for i in batch]) for batch in batches]
    labels = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in collated)
    total = 0.0
    for batch in collated:
        with device.autocast(trainer.backend.device, trainer.dtype):
            loss, _ = trainer.backend.loss(trainer.network, batch)
        if not torch.isfinite(loss):
            return None, 0
        (loss / labels).backward()
        total += loss.item()
    limit = trainer.settings.train.clip_norm
    parameters = trainer.optimizer.param_groups[0]["params"]
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf)
    if not torch.isfinite(norm):
        return None, 0
    for group in trainer.optimizer.param_groups:
        group["lr"] = rate
    trainer.optimizer.step()
    return total / labels, labels


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear from 0 to the peak over the warm-up, then linear towards 0; `step` counts from 1."""
    warm_up = math.ceil(warmup_share * steps)
    if step <= warm_up:
        return peak * step / warm_up
    return peak * (steps - step + 1) / (steps - warm_up)


@torch.no_grad()
def validate(trainer: Trainer) -> float:
    """Mean loss over the validation samples, nats per label."""
    trainer.network.eval()
    total = labels = 0.0
    for batch in in_order(trainer.val.lengths, trainer.settings.train.batch_clips):
        with device.autocast(trainer.backend.device, trainer.dtype):
            loss, count = trainer.backend.loss(
                trainer.network, trainer.backend.collate([trainer.val[i] for i in batch])
            )
        total, labels = total + loss.item(), labels + count.item()
    return total / labels


def _row(step: int, train: float | None, val: float | None, rate: float, tokens: int) -> dict[str, Any]:
    return dict(zip(LOSSES, (step, train, val, rate, tokens), strict=True))


def _note_failure(progress: Progress, ids: list[str]) -> None:
    progress.failed[str(progress.step)] = ids
    log.warning(
        "train: step %d is left out, its loss or gradient is not finite; its clips: %s",
        progress.step,
        ", ".join(ids),
    )
    if len(progress.failed) >= FAILED_STEPS:
        listed = "; ".join(f"step {step}: {', '.join(ids)}" for step, ids in progress.failed.items())
        raise ModelError(
            f"the loss was not finite in {len(progress.failed)} steps ({listed}); look at these "
            "clips, or lower lr, or set train.precision: float32"
        )


def _samples(
    settings: Settings, backend: Backend, splits: Path, tokens: Path, base: Path
) -> tuple[Samples, Samples]:
    made = []
    stored = Tokens(tokens, manifest.shard_names(settings.shards), base)
    for part in ("train", "val"):
        path = splits / f"{part}.jsonl"
        samples = Samples(
            backend, stored, manifest.read(path), part, settings.train.max_tokens, settings.train.mask_prompt
        )
        for skipped in samples.skipped:
            log.warning("train: %s is left out: %s", skipped.id, skipped.reason)
        if not len(samples):
            raise InputError(
                f"{path} has no clip that can be used ({len(samples.skipped)} were left out); "
                f"expected one or more: see split.val_share, split.test_share and "
                "train.max_tokens in params.yaml"
            )
        made.append(samples)
    return made[0], made[1]


def _key(settings: Settings, spec: ModelSpec, splits: Path, tokens: Path, base: Path) -> str:
    """The checksum of parameters, code and inputs."""
    stage = STAGES["train"]
    inputs = [splits / "train.jsonl", splits / "val.jsonl"]
    for shard in manifest.shard_names(settings.shards):
        inputs += [tokens / f"{shard}.npy", tokens / f"{shard}.jsonl"]
    sealed = base / "seal.json"
    inputs += [sealed] if sealed.exists() else files.walk(base / "network")
    return files.sha256_of(
        {
            "params": {key: settings_module.lookup(settings, key) for key in stage.params},
            "spec": {key: settings_module.lookup(spec, key) for key in stage.spec},
            "code": seal.code_sha256(stage.code),
            "inputs": [files.sha256(path) for path in inputs],
        }
    )


def _publish(scratch: Scratch, progress: Progress, skipped: Sequence[Any], out: Path) -> None:
    """The adapters of all checkpoints, the losses and what was left out."""
    with files.atomic_folder(out) as folder:
        for step in progress.saved:
            shutil.copytree(scratch.adapter(step), folder / lora.step_name(step))
        rows = [{name: row[name] for name in LOSSES} for row in progress.history]
        lines = [json.dumps(row, allow_nan=False) for row in rows]
        files.write_text(folder / "losses.jsonl", "".join(line + "\n" for line in lines))
        manifest.write(folder / "skipped.jsonl", skipped)
