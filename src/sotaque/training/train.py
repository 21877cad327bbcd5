"""Adapt the base model by LoRA: one loop, from top to bottom in `fit`.

A step's samples, its learning rate and its random numbers are functions of (seed, step); the rest of the
state lies in scratch/train/<key>, and the key is the checksum of everything that the result depends on.
So a run that was killed goes on from its last checkpoint, one that was asked to stop from its last step,
and both end with the bytes they would have had.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from peft import PeftModel

from sotaque import backends, device, files, manifest, model_spec, seal
from sotaque import settings as settings_module
from sotaque.backends.protocol import Backend
from sotaque.data.tokenize import Tokens
from sotaque.errors import InputError, ModelError, SettingsError, StoppedError
from sotaque.model_spec import ModelSpec
from sotaque.progress import counter
from sotaque.settings import Settings
from sotaque.stages import STAGES
from sotaque.training import lora, memory, stopping, tracking
from sotaque.training.batching import Plan, Samples, Voices, in_order
from sotaque.training.checkpoint import Progress, Scratch

log = logging.getLogger("sotaque")

SCRATCH = Path("scratch/train")
LOSSES = ("step", "train_nats", "val_nats", "lr", "tokens")
LOG_EVERY_STEPS = 10
REMEDY = "look at these clips, or lower lr, or set train.precision: float32"


def run(
    settings: Settings, *, model: Path, splits: Path, tokens: Path, base: Path, out: Path
) -> dict[str, float]:
    """Write out/step-NNNNNN/ (peft adapters), out/losses.jsonl and out/skipped.jsonl."""
    spec = model_spec.read(model.stem)
    backend = backends.load(spec.backend, base, device.prepare(settings.train.threads))
    train, val = _samples(settings, backend, splits, tokens, base)
    trainer = Trainer.build(settings, spec, backend, train, val)
    trainer.gate = _gate(settings, spec, trainer, base, splits)
    memory.check(backend, trainer.network, trainer.dtype, settings.train, train)
    scratch = _scratch(settings, model=model, splits=splits, tokens=tokens, base=base)
    started = time.monotonic()
    progress, learnt = fit(trainer, scratch)
    seconds = time.monotonic() - started
    _publish(scratch, progress, [*train.skipped, *val.skipped], out)
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


def sealed(settings: Settings, *, out: Path, **inputs: Path) -> None:
    """The output has its seal; only now the checkpoints have done their work."""
    _scratch(settings, **inputs).remove()


class Gate(Protocol):
    def check(self, network: torch.nn.Module, step: int) -> float: ...


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
    gate: Gate | None = None

    @classmethod
    def build(
        cls, settings: Settings, spec: ModelSpec, backend: Backend, train: Samples, val: Samples
    ) -> Trainer:
        how = settings.train
        dtype = device.precision(how.precision, backend.device)
        if how.packing and not backend.packs:
            raise SettingsError(
                f"params.yaml: train.packing is true, but backend {spec.backend} cannot put many clips in "
                "one sequence; set it to false"
            )
        plain = backend.load_network(dtype=dtype)
        network = lora.attach(backend, plain, spec.lora_targets, settings.lora, settings.seed)
        if how.gradient_checkpointing:
            backend.checkpoint_gradients(network, True)
        parameters = list(lora.trainable(network).values())
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=how.weight_decay)
        plan = Plan(train.lengths, how.batch_clips, how.accumulate, settings.epochs, settings.seed)
        return cls(settings, backend, network, optimizer, train, val, plan, dtype)


def fit(trainer: Trainer, scratch: Scratch) -> tuple[Progress, int]:
    """Train from the newest checkpoint to the end.

    Returns how far it came and the tokens learnt from in this process. Raises StoppedError, with a checkpoint
    of the last step, when a signal asks for it; ModelError when steps in a row were not finite, or the
    card's memory is too small.
    """
    progress = _resume(trainer, scratch)
    before, started, steps = progress.tokens, time.monotonic(), trainer.plan.steps
    with stopping.on_request(), counter("train", steps, progress.step) as advance:
        try:
            _measure(trainer, progress, scratch)
            _listen(trainer, progress, scratch)
            while progress.step < steps:
                _learn(trainer, progress)
                _measure(trainer, progress, scratch)
                _listen(trainer, progress, scratch)
                row = progress.history[-1]
                if row["val_nats"] is not None or progress.step % LOG_EVERY_STEPS == 0:
                    values = {k: v for k, v in row.items() if k != "step" and v is not None}
                    tracking.log_metrics(values, progress.step)
                stopping.check()
                loss = row["train_nats"] if row["train_nats"] is not None else math.nan
                speed = (progress.tokens - before) / (time.monotonic() - started)
                advance(f"loss {loss:.3f} nats, {speed:.0f} tokens/s")
        except stopping.Requested as signal:
            if progress.step:
                scratch.save(trainer.network, trainer.optimizer, progress)
            raise StoppedError(
                f"stopped by {signal} after step {progress.step} of {steps}; "
                f"the same command goes on from there (its state is in {scratch.folder})"
            ) from None
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"out of memory after step {progress.step}: {str(error).splitlines()[0]} Lower "
                "train.batch_clips (and raise train.accumulate as much), lower train.max_tokens, or set "
                "train.gradient_checkpointing: true"
            ) from None
    return progress, progress.tokens - before


def _resume(trainer: Trainer, scratch: Scratch) -> Progress:
    """The position to go on from, with the network and the optimiser as they were there."""
    for folder, step, differences in scratch.others():
        log.info(
            "train: %s holds another run at step %d, which is not gone on with: %s; "
            "delete the folder unless you go back to that",
            folder,
            step,
            ", ".join(differences),
        )
    progress = scratch.newest()
    if progress is None:
        return Progress(history=[_row(0, None, None, 0.0, 0)])
    scratch.restore(progress.step, trainer.network, trainer.optimizer)
    log.info("train: going on from step %d", progress.step)
    return progress


def _learn(trainer: Trainer, progress: Progress) -> None:
    """The next step, and its row in the history; `progress` is unchanged when it does not come to an end."""
    step, how = progress.step + 1, trainer.settings.train
    batches = trainer.plan.batches(step)
    rate = learning_rate(step, trainer.plan.steps, trainer.settings.lr, how.warmup_share)
    loss, tokens = take_step(trainer, batches, step, rate)
    progress.step = step
    progress.tokens += tokens
    progress.history.append(_row(step, loss, None, rate, progress.tokens))
    if loss is None:
        ids = [trainer.train.id(i) for batch in batches for i in batch]
        _note_failure(progress, ids, how.max_failed_steps)


def _measure(trainer: Trainer, progress: Progress, scratch: Scratch) -> None:
    """Validate and save where that is due and not yet done; the base, at step 0, is validated only."""
    step, row = progress.step, progress.history[-1]
    due = step % trainer.settings.train.save_every_steps == 0 or step == trainer.plan.steps
    if due and row["val_nats"] is None:
        row["val_nats"] = validate(trainer)
        if step:
            progress.saved.append(step)
            scratch.save(trainer.network, trainer.optimizer, progress)


def _listen(trainer: Trainer, progress: Progress, scratch: Scratch) -> None:
    """At the gate's step: save, so that the run can go on from here in any case, and let it speak."""
    if trainer.gate is not None and progress.step == trainer.settings.gate.step:
        if progress.step not in progress.saved:
            scratch.save(trainer.network, trainer.optimizer, progress)
        found = trainer.gate.check(trainer.network, progress.step)
        log.info("train: step %d passes the gate with WER %.2f", progress.step, found)


def take_step(
    trainer: Trainer, batches: Sequence[np.ndarray], step: int, rate: float
) -> tuple[float | None, int]:
    """One optimiser step over all its batches: (mean loss in nats per label, number of labels).

    The loss is None, and nothing has changed, when it or the gradient was not finite. Nothing has changed
    either when it raises stopping.Requested.
    """
    seed = np.random.SeedSequence([trainer.settings.seed, step]).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(seed))
    trainer.network.train()
    trainer.optimizer.zero_grad(set_to_none=True)
    packed, epoch = trainer.settings.train.packing, trainer.plan.epoch_of(step)
    total, labels = 0.0, 0
    for batch in batches:
        stopping.check()
        examples = [trainer.train.example(i, epoch) for i in batch]
        with device.autocast(trainer.backend.device, trainer.dtype):
            loss, count = trainer.backend.loss(trainer.network, trainer.backend.collate(examples, packed))
        if not torch.isfinite(loss):
            return None, 0
        loss.backward()
        total, labels = total + loss.item(), labels + int(count)
    limit = trainer.settings.train.clip_norm
    parameters = trainer.optimizer.param_groups[0]["params"]
    for gradient in (p.grad for p in parameters if p.grad is not None):
        gradient /= labels
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
    """Mean loss over the validation samples, nats per label.

    Raises ModelError naming the clips of a batch whose loss is not finite.
    """
    trainer.network.eval()
    total = labels = 0.0
    for batch in in_order(trainer.val.lengths, trainer.settings.train.batch_clips):
        stopping.check()
        with device.autocast(trainer.backend.device, trainer.dtype):
            loss, count = trainer.backend.loss(
                trainer.network, trainer.backend.collate([trainer.val[i] for i in batch])
            )
        if not torch.isfinite(loss):
            ids = ", ".join(trainer.val.id(i) for i in batch)
            raise ModelError(f"the loss of the validation clips {ids} is not finite; {REMEDY}")
        total, labels = total + loss.item(), labels + count.item()
    return total / labels


def _row(step: int, train: float | None, val: float | None, rate: float, tokens: int) -> dict[str, Any]:
    return dict(zip(LOSSES, (step, train, val, rate, tokens), strict=True))


def _note_failure(progress: Progress, ids: list[str], limit: int) -> None:
    """Name the clips of a step that was left out; raises ModelError when it is the `limit`th in a row."""
    step, failed = progress.step, progress.failed
    failed[str(step)] = ids
    log.warning(
        "train: step %d is left out, its loss or gradient is not finite; its clips: %s", step, ", ".join(ids)
    )
    row = [str(n) for n in range(step - limit + 1, step + 1)]
    if all(n in failed for n in row):
        listed = "; ".join(f"step {n}: {', '.join(failed[n])}" for n in row)
        raise ModelError(
            f"the loss or its gradient was not finite in {limit} steps in a row ({listed}); {REMEDY}"
        )


def _gate(settings: Settings, spec: ModelSpec, trainer: Trainer, base: Path, splits: Path) -> Gate | None:
    """None unless it is asked for. Raises SettingsError when the training ends before the gate."""
    if not settings.gate.step:
        return None
    step, last = settings.gate.step, trainer.plan.steps
    if step > last:
        raise SettingsError(f"params.yaml: gate.step is {step}, but this training ends at step {last}")
    # Not by `import`: what the gate hears shapes no byte of the adapters, so its code is not train's code.
    module = importlib.import_module("sotaque.training.gate")
    return module.Gate(settings, spec, trainer.backend, base, splits)


def _samples(
    settings: Settings, backend: Backend, splits: Path, tokens: Path, base: Path
) -> tuple[Samples, Samples]:
    made = []
    stored = Tokens(tokens, manifest.shard_names(settings.shards), base)
    voices = Voices(backend, stored, manifest.read(splits / "train.jsonl"), settings.seed)
    for part in ("train", "val"):
        path = splits / f"{part}.jsonl"
        samples = Samples(
            backend, stored, manifest.read(path), part, settings.train.max_tokens,
            settings.train.mask_prompt, voices,
        )  # fmt: skip
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


def _scratch(settings: Settings, *, model: Path, splits: Path, tokens: Path, base: Path) -> Scratch:
    """The checkpoints of this very training, known by its parameters, code and inputs."""
    stage, spec = STAGES["train"], model_spec.read(model.stem)
    inputs = [splits / "train.jsonl", splits / "val.jsonl"]
    for shard in manifest.shard_names(settings.shards):
        inputs += [tokens / f"{shard}.npy", tokens / f"{shard}.jsonl"]
    seal_of_base = base / "seal.json"
    inputs += [seal_of_base] if seal_of_base.exists() else files.walk(base / "network")
    origin = {
        "params.yaml": {key: settings_module.lookup(settings, key) for key in stage.params},
        model.as_posix(): {key: settings_module.lookup(spec, key) for key in stage.spec},
        "files": {path.as_posix(): files.sha256(path) for path in inputs},
        "code": seal.code_sha256(stage.code),
    }
    return Scratch(SCRATCH, origin)


def _publish(scratch: Scratch, progress: Progress, skipped: Sequence[Any], out: Path) -> None:
    """The adapters of all checkpoints, the losses and what was left out."""
    with files.atomic_folder(out) as folder:
        for step in progress.saved:
            shutil.copytree(scratch.adapter(step), folder / lora.step_name(step))
        rows = [{name: row[name] for name in LOSSES} for row in progress.history]
        lines = [json.dumps(row, allow_nan=False) for row in rows]
        files.write_text(folder / "losses.jsonl", "".join(line + "\n" for line in lines))
        manifest.write(folder / "skipped.jsonl", skipped)
