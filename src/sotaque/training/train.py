"""Adapt the base model, by LoRA or whole: one loop, from top to bottom in `fit`.

A step's samples, its learning rate and its random numbers are functions of (seed, step); the rest of the
state lies in scratch/train/<key>, and the key is the checksum of everything that the result depends on.
So a run that was killed goes on from its last checkpoint, one that was asked to stop from its last step,
and both end with the bytes they would have had.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sotaque import backends, device, files, manifest, model_spec
from sotaque.errors import ModelError, StoppedError
from sotaque.progress import counter
from sotaque.settings import Settings
from sotaque.training import inputs, lora, losses, memory, processes, stopping, torchrun, tracking
from sotaque.training import record as records
from sotaque.training.checkpoint import Progress, Scratch
from sotaque.training.group import Group
from sotaque.training.record import TrainingRecord
from sotaque.training.schedule import learning_rate
from sotaque.training.step import REMEDY, take_step, validate
from sotaque.training.trainer import Trainer

log = logging.getLogger("sotaque")

SCRATCH = Path("scratch/train")
LOG_EVERY_STEPS = 10


def run(settings: Settings, *, out: Path, **reads: Path) -> dict[str, float]:
    """Write out/step-NNNNNN/ (adapters or networks), losses.jsonl, skipped.jsonl and training.json."""
    with (
        stopping.on_request(),
        processes.together(settings.train.processes, take_part, settings, reads) as group,
    ):
        trainer, scratch = _prepare(group, settings, **reads)
        started = time.monotonic()
        progress, learnt = fit(trainer, scratch)
        seconds = time.monotonic() - started
    skipped = [*trainer.train.skipped, *trainer.val.skipped]
    _publish(scratch, progress, skipped, _record(trainer, progress), out)
    measured = losses.measured(progress.history)
    return {
        "steps": progress.step,
        "tokens": progress.tokens,
        "tokens_per_s": learnt / seconds,
        "val_loss_nats": measured[-1],
        "val_loss_nats_of_base": measured[0],
        "skipped": len(skipped),
        "failed_steps": len(progress.failed),
        "trainable_parameters": _trainable_parameters(trainer),
    }


def _trainable_parameters(trainer: Trainer) -> int:
    return sum(p.numel() for p in lora.trainable(trainer.network).values())


def _record(trainer: Trainer, progress: Progress) -> TrainingRecord:
    """What was done, which can be less than what params.yaml asks for (train.patience)."""
    settings, how, samples = trainer.settings, trainer.settings.train, trainer.train
    return TrainingRecord(
        method=how.method,
        lora=trainer.method.record(),
        trainable_parameters=_trainable_parameters(trainer),
        lr=settings.lr,
        schedule=how.schedule,
        warmup_share=how.warmup_share,
        optimizer=how.optimizer,
        weight_decay=how.weight_decay,
        clip_norm=how.clip_norm,
        batch_clips=how.batch_clips,
        accumulate=how.accumulate,
        packing=how.packing,
        mask_prompt=how.mask_prompt,
        precision=str(trainer.dtype).removeprefix("torch."),
        seed=settings.seed,
        steps=progress.step,
        planned_steps=trainer.plan.steps,
        epochs=round(settings.epochs * progress.step / trainer.plan.steps, 3),
        clips=len(samples),
        minutes=round(samples.duration_s / 60, 3),
        skipped=len(samples.skipped),
        speakers=samples.speakers,
    )


def take_part(group: Group, settings: Settings, reads: dict[str, Path]) -> None:
    """What each process beside the first does: the same, but it writes and says nothing."""
    with stopping.on_request():
        fit(*_prepare(group, settings, **reads))


def follow(settings: Settings, store: torch.distributed.Store, **reads: Path) -> None:
    """The same, for a process that torchrun started."""
    place = (torchrun.rank(), torchrun.size(), torchrun.local_rank())
    with processes.joined(store, *place) as group, processes.quiet():
        take_part(group, settings, reads)


def sealed(settings: Settings, *, out: Path, **reads: Path) -> None:
    """The output has its seal; only now the checkpoints have done their work."""
    Scratch(SCRATCH, inputs.origin(settings, **reads)).remove()


def _prepare(
    group: Group, settings: Settings, *, model: Path, splits: Path, tokens: Path, base: Path
) -> tuple[Trainer, Scratch]:
    spec = model_spec.read(model.stem)
    try:
        backend = backends.load(spec.backend, base, device.prepare(settings.train.threads), spec.learning)
        train, val = inputs.samples(settings, backend, splits, tokens, base)
        inputs.check_texts(settings, backend, spec.generation, splits, tokens, base)
        stopping.check(group.highest)
        trainer = Trainer.build(settings, spec, backend, train, val, group)
        trainer.listen_with(spec, base, splits)
        if not settings.train.shard:  # the estimate reads the network layer by layer, as one process has it
            memory.check(backend, trainer.network, trainer.dtype, settings.train, train)
        stopping.check(group.highest)
    except stopping.Requested as signal:
        raise StoppedError(
            f"stopped by {signal} before the first step; the same command begins it, or goes on from the "
            "last checkpoint"
        ) from None
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"out of memory before the first step: {str(error).splitlines()[0]} The card is too small for "
            "this model, or other programs hold its memory (nvidia-smi shows them); train.method: lora needs "
            "less than full"
        ) from None
    origin = inputs.origin(settings, model=model, splits=splits, tokens=tokens, base=base)
    return trainer, Scratch(SCRATCH, origin, trainer.method, group.leads)


def fit(trainer: Trainer, scratch: Scratch) -> tuple[Progress, int]:
    """Train from the newest checkpoint to the end.

    Returns how far it came and the tokens learnt from in this process. Raises StoppedError, with a checkpoint
    of the last step, when a signal asks for it; ModelError when steps in a row were not finite, or the
    card's memory is too small.
    """
    progress = _resume(trainer, scratch)
    before, started, steps = progress.tokens, time.monotonic(), trainer.plan.steps
    with counter("train", steps, progress.step) as advance:
        try:
            _measure(trainer, progress, scratch)
            _listen(trainer, progress, scratch)
            while progress.step < steps and not _worn_out(trainer, progress):
                _learn(trainer, progress)
                _measure(trainer, progress, scratch)
                _listen(trainer, progress, scratch)
                row = progress.history[-1]
                if row["val_nats"] is not None or progress.step % LOG_EVERY_STEPS == 0:
                    values = {k: v for k, v in row.items() if k != "step" and v is not None}
                    tracking.log_metrics(values, progress.step)
                stopping.check(trainer.group.highest)
                loss = row["train_nats"] if row["train_nats"] is not None else math.nan
                speed = (progress.tokens - before) / (time.monotonic() - started)
                advance(f"loss {loss:.3f} nats, {speed:.0f} tokens/s")
        except stopping.Requested as signal:
            if progress.step:
                _save(trainer, progress, scratch)
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
        progress = Progress(history=[losses.row(0, None, None, 0.0, 0)])
    else:
        scratch.restore(progress.step, trainer.network, trainer.optimizer)
        log.info("train: going on from step %d", progress.step)
    trainer.group.wait()  # nobody writes before all have read
    return progress


def _learn(trainer: Trainer, progress: Progress) -> None:
    """The next step, and its row in the history; `progress` is unchanged when it does not come to an end."""
    step, steps, how = progress.step + 1, trainer.plan.steps, trainer.settings.train
    batches = trainer.plan.batches(step)
    rate = learning_rate(step, steps, trainer.settings.lr, how.warmup_share, how.schedule)
    loss, tokens = take_step(trainer, batches, step, rate)
    progress.step = step
    progress.tokens += tokens
    progress.history.append(losses.row(step, loss, None, rate, progress.tokens))
    if loss is None:
        ids = [trainer.train.id(i) for batch in batches for i in batch]
        _note_failure(progress, ids, how.max_failed_steps)


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


def _measure(trainer: Trainer, progress: Progress, scratch: Scratch) -> None:
    """Validate and save where that is due and not yet done; the base, at step 0, is validated only."""
    step, row = progress.step, progress.history[-1]
    due = step % trainer.settings.train.save_every_steps == 0 or step == trainer.plan.steps
    if due and row["val_nats"] is None:
        row["val_nats"] = validate(trainer)
        if step:
            progress.saved.append(step)
            _save(trainer, progress, scratch)


def _listen(trainer: Trainer, progress: Progress, scratch: Scratch) -> None:
    """At the gate's step: save, so that the run can go on from here in any case, and let it speak."""
    if progress.step and progress.step == trainer.settings.gate.step:
        if progress.step not in progress.saved:
            _save(trainer, progress, scratch)
        if trainer.gate is not None:
            found = trainer.gate.check(trainer.network, progress.step)
            log.info("train: step %d passes the gate with WER %.2f", progress.step, found)
        trainer.group.wait()


def _worn_out(trainer: Trainer, progress: Progress) -> bool:
    """Whether it is in vain to go on, by `train.patience`."""
    patience = trainer.settings.train.patience
    if not losses.worn_out(progress.history, patience):
        return False
    log.info(
        "train: ends early at step %d of %d: %d validations in a row were no better than the best before "
        "(train.patience)",
        progress.step,
        trainer.plan.steps,
        patience,
    )
    return True


def _save(trainer: Trainer, progress: Progress, scratch: Scratch) -> None:
    """A checkpoint, written by the first process while the others wait."""
    scratch.save(trainer.network, trainer.optimizer, progress)
    trainer.group.wait()


def _publish(
    scratch: Scratch, progress: Progress, skipped: Sequence[Any], record: TrainingRecord, out: Path
) -> None:
    """The results of all checkpoints, the losses, what was left out and what was done."""
    with files.atomic_folder(out) as folder:
        for step in progress.saved:
            shutil.copytree(scratch.result(step), folder / lora.step_name(step))
        losses.write(progress.history, folder / "losses.jsonl")
        manifest.write(folder / "skipped.jsonl", skipped)
        records.write(record, folder)
