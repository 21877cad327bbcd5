"""Training: equal runs give equal bytes, a killed one too, and what cannot be trained on is said."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sotaque import files, manifest
from sotaque.data.tokenize import TokenRow, Tokens
from sotaque.errors import InputError, ModelError
from sotaque.training import checkpoint, lora, train
from sotaque.training.batching import Skipped

READS = {
    "model": Path("workflow/models/tiny.yaml"), "splits": Path("data/splits"),
    "tokens": Path("data/tokens/tiny"), "base": Path("models/tiny/base"),
}  # fmt: skip
OUT = Path("models/tiny/lora")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.world()


def with_train(settings, **values):
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, **values))


def losses(out=OUT):
    return [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]


def tree(folder):
    return {p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)}


def test_the_loss_falls_and_the_adapters_are_there(settings):
    metrics = train.run(settings, **READS, out=OUT)
    rows = losses()
    assert metrics["steps"] == 6
    assert lora.steps(OUT) == [2, 4, 6]
    assert [row["step"] for row in rows] == list(range(7))
    assert [row["step"] for row in rows if row["val_nats"] is not None] == [0, 2, 4, 6]
    assert rows[-1]["val_nats"] < rows[0]["val_nats"] - 0.5
    assert rows[0]["val_nats"] == metrics["val_loss_nats_of_base"]
    assert not list(Path("scratch/train").iterdir())


def test_tokens_are_the_labels_of_the_samples(settings):
    train.run(settings, **READS, out=OUT)
    tokens = Tokens(READS["tokens"], ("00", "01"), READS["base"])
    clips = manifest.read(Path("data/splits/train.jsonl"))
    labels = sum(tokens.codes(u.id).size + 2 for u in clips)
    assert losses()[-1]["tokens"] == settings.epochs * labels


def test_equal_runs_are_equal_bytes_and_name_no_machine(settings, tmp_path):
    train.run(settings, **READS, out=OUT)
    train.run(settings, **READS, out=Path("other"))
    assert tree(OUT) == tree(Path("other"))
    for path in files.walk(OUT):
        assert str(tmp_path).encode() not in path.read_bytes()
    assert (
        json.loads((OUT / "step-000002/adapter_config.json").read_text())["base_model_name_or_path"] is None
    )


def test_another_seed_is_another_run(settings):
    train.run(settings, **READS, out=OUT)
    train.run(dataclasses.replace(settings, seed=8), **READS, out=Path("other"))
    assert losses()[-1]["train_nats"] != losses(Path("other"))[-1]["train_nats"]


def test_peft_itself_loads_the_adapter(settings):
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    train.run(settings, **READS, out=OUT)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        theirs = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("models/tiny/base/network"),
                                           OUT / "step-000006")(ids).logits  # fmt: skip
        plain = LlamaForCausalLM.from_pretrained("models/tiny/base/network")
        before = plain(ids).logits
        ours = lora.load(plain, OUT / "step-000006")(ids).logits
    assert torch.equal(theirs, ours)
    assert not torch.allclose(ours, before, atol=1e-2)


@pytest.mark.parametrize("clips", [[[0, 1], [2, 3]], [[0, 1, 2, 3]], [[0], [1, 2, 3]]], ids=str)
def test_a_step_has_the_gradient_of_the_mean_over_all_its_labels(settings, clips):
    """However the samples are divided into batches; against one backward pass over all of them."""
    settings = with_train(settings, clip_norm=0.0)
    settings = dataclasses.replace(settings, lora=dataclasses.replace(settings.lora, dropout=0.0))
    trainer = build(settings)
    mean, labels = train.take_step(trainer, [np.array(batch) for batch in clips], step=1, rate=0.0)
    parameters = lora.trainable(trainer.network).values()
    gradients = [p.grad.clone() for p in parameters]
    trainer.network.zero_grad()
    total, count = trainer.backend.loss(
        trainer.network, trainer.backend.collate([trainer.train[i] for i in range(4)])
    )
    (total / count).backward()
    assert (mean, labels) == (pytest.approx((total / count).item(), rel=1e-6), count)
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(parameters, gradients, strict=True))
    assert max(g.abs().max() for g in gradients) > 1e-3


def test_the_gradient_is_clipped_to_its_longest(settings):
    trainer = build(with_train(settings, clip_norm=0.01))
    train.take_step(trainer, [np.arange(4)], step=1, rate=0.0)
    norms = [p.grad.square().sum() for p in lora.trainable(trainer.network).values()]
    assert torch.stack(norms).sum().sqrt().item() == pytest.approx(0.01, rel=1e-3)


def build(settings):
    from sotaque import backends, model_spec

    backend = backends.load("orpheus", READS["base"], torch.device("cpu"))
    samples = train._samples(settings, backend, READS["splits"], READS["tokens"], READS["base"])
    return train.Trainer.build(settings, model_spec.read("tiny"), backend, *samples)


def test_gradient_checkpointing_changes_nothing(settings):
    train.run(settings, **READS, out=OUT)
    train.run(with_train(settings, gradient_checkpointing=True), **READS, out=Path("other"))
    assert losses()[-1]["val_nats"] == pytest.approx(losses(Path("other"))[-1]["val_nats"], abs=1e-5)


def test_bfloat16_trains_to_about_the_same_loss(settings):
    train.run(settings, **READS, out=OUT)
    train.run(with_train(settings, precision="bfloat16"), **READS, out=Path("other"))
    assert losses()[-1]["val_nats"] == pytest.approx(losses(Path("other"))[-1]["val_nats"], abs=0.1)
    state = lora.load_file(Path("other/step-000006/adapter_model.safetensors"))
    assert {value.dtype for value in state.values()} == {torch.float32}


@pytest.mark.parametrize(("step", "rate"), [(1, 0.05), (2, 0.1), (4, 0.2), (5, 0.2), (13, 0.1), (20, 0.0125)])
def test_the_learning_rate_rises_then_falls(step, rate):
    """20 steps, the first 4 of them rising to 0.2; then 16 falling ones, each by 0.2 / 16."""
    assert train.learning_rate(step, 20, peak=0.2, warmup_share=0.2) == pytest.approx(rate)


def interrupted(settings, monkeypatch, step):
    """Run until the checkpoint of a step is saved, then stop as Ctrl-C would."""
    save = checkpoint.Scratch.save

    def stopping(self, network, optimizer, progress):
        save(self, network, optimizer, progress)
        if progress.step == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Scratch, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.run(settings, **READS, out=OUT)
    return next(Path("scratch/train").iterdir())


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_goes_on_exactly(settings, monkeypatch, step):
    settings = with_train(settings, save_every_steps=1)
    train.run(settings, **READS, out=Path("undisturbed"))
    interrupted(settings, monkeypatch, step)
    assert train.run(settings, **READS, out=OUT)["steps"] == 6
    assert tree(OUT) == tree(Path("undisturbed"))


@pytest.mark.parametrize("name", ["optimizer.safetensors", "adapter/adapter_model.safetensors", "state.json"])
@pytest.mark.parametrize("fault", [lambda path: path.write_bytes(path.read_bytes()[:-7]), Path.unlink],
                         ids=["cut", "gone"])  # fmt: skip
def test_a_damaged_checkpoint_falls_back_to_the_one_before(settings, monkeypatch, caplog, name, fault):
    train.run(settings, **READS, out=Path("undisturbed"))
    scratch = interrupted(settings, monkeypatch, 4)
    fault(scratch / "step-000004" / name)
    caplog.set_level("INFO")
    train.run(settings, **READS, out=OUT)
    assert "step-000004: damaged" in caplog.text
    assert "going on from step 2" in caplog.text
    assert tree(OUT) == tree(Path("undisturbed"))


def test_old_checkpoints_keep_the_adapter_only(settings, monkeypatch):
    scratch = interrupted(with_train(settings, save_every_steps=1), monkeypatch, 4)
    kept = sorted(path.parent.name for path in scratch.rglob("optimizer.safetensors"))
    assert kept == ["step-000003", "step-000004"]
    assert lora.steps(scratch) == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["lr", "data", "base"])
def test_a_checkpoint_of_other_settings_or_data_is_never_resumed(settings, monkeypatch, caplog, change):
    scratch = interrupted(settings, monkeypatch, 4)
    if change == "lr":
        settings = dataclasses.replace(settings, lr=5e-3)
    elif change == "data":
        clips = manifest.read(Path("data/splits/train.jsonl"))
        manifest.write(Path("data/splits/train.jsonl"), clips[1:])
    else:
        tiny.network(READS["base"] / "network", tiny.SMALL, seed=3)
    caplog.set_level("INFO")
    train.run(settings, **READS, out=OUT)
    assert "going on" not in caplog.text
    assert [path.name for path in Path("scratch/train").iterdir()] == [scratch.name]


def poison(monkeypatch, *steps):
    """The loss of these steps is NaN."""
    from sotaque.backends.orpheus import Backend

    calls = {"steps": 0}
    take_step, loss = train.take_step, Backend.loss

    def counting(trainer, batches, step, rate):
        calls["step"] = step
        return take_step(trainer, batches, step, rate)

    def poisoned(self, network, batch):
        total, count = loss(self, network, batch)
        return (total * float("nan") if calls.get("step") in steps and network.training else total), count

    monkeypatch.setattr(train, "take_step", counting)
    monkeypatch.setattr(Backend, "loss", poisoned)


def test_a_loss_that_is_not_finite_takes_no_step(settings, monkeypatch, caplog):
    settings = with_train(settings, save_every_steps=1)
    poison(monkeypatch, 3)
    metrics = train.run(settings, **READS, out=OUT)
    assert metrics["failed_steps"] == 1
    assert losses()[3]["train_nats"] is None
    assert losses()[3]["tokens"] == losses()[2]["tokens"]
    assert losses()[3]["val_nats"] == losses()[2]["val_nats"]
    weights = [(OUT / f"step-00000{n}/adapter_model.safetensors").read_bytes() for n in (2, 3, 4)]
    assert weights[0] == weights[1] != weights[2]
    ids = [name for name in (f"clip-{i:03d}" for i in range(12)) if name in caplog.text]
    assert len(ids) == 4


def test_three_such_steps_stop_the_run_by_name(settings, monkeypatch):
    poison(monkeypatch, 1, 2, 4)
    with pytest.raises(ModelError, match=r"not finite in 3 steps \(step 1: clip-.*; step 2: .*; step 4: "):
        train.run(settings, **READS, out=OUT)
    assert not OUT.exists()


def test_what_cannot_be_trained_on_is_said(settings, caplog):
    """One clip over the limit, one rejected by tokenize; the others are trained on."""
    row = next(iter(manifest.read(Path("data/splits/train.jsonl"))))
    clips = manifest.read(Path("data/splits/train.jsonl"))
    long = dataclasses.replace(row, text="muito " * 50)
    manifest.write(Path("data/splits/train.jsonl"), [long, *clips[1:]])
    silence(clips[1].id)
    metrics = train.run(with_train(settings, max_tokens=200), **READS, out=OUT)
    skipped = manifest.read(OUT / "skipped.jsonl", Skipped)
    assert metrics["skipped"] == 2
    assert [(s.id, s.part, s.reason) for s in skipped] == [
        (long.id, "train", "over 200 tokens"),
        (clips[1].id, "train", "silent"),
    ]
    assert skipped[0].tokens > 300
    assert long.id in caplog.text


def silence(identifier):
    """As if tokenize had rejected the clip: its row is there without frames."""
    for shard in ("00", "01"):
        path = READS["tokens"] / f"{shard}.jsonl"
        rows, lost, start = [], 0, 0
        for row in manifest.read(path, TokenRow):
            if row.id == identifier:
                start, lost = row.start, row.length
                row = dataclasses.replace(row, length=0, reject="silent", reason="no sound")
            rows.append(
                row if row.start <= start or not lost else dataclasses.replace(row, start=row.start - lost)
            )
        if lost:
            array = np.load(path.with_suffix(".npy"))
            np.save(path.with_suffix(".npy"), np.delete(array, slice(start, start + lost), axis=0))
            manifest.write(path, rows)


@pytest.mark.parametrize("part", ["train", "val"])
def test_nothing_to_train_or_validate_on_is_an_error(settings, part):
    manifest.write(Path(f"data/splits/{part}.jsonl"), [])
    with pytest.raises(InputError, match=rf"data/splits/{part}.jsonl has no clip that can be used"):
        train.run(settings, **READS, out=OUT)


def test_an_unknown_lora_target_is_named(settings):
    path = READS["model"]
    path.write_text(path.read_text().replace("q_proj", "query"))
    with pytest.raises(
        ModelError, match=r"lora_targets names 'query'; there is no such module, only: .*q_proj"
    ):
        train.run(settings, **READS, out=OUT)


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import test_train, tiny
from sotaque.training import train
train.run(tiny.settings(epochs=12), **test_train.READS, out=test_train.OUT)
"""


def test_kill_9_and_the_same_command_end_with_the_same_bytes(settings, caplog):
    settings = tiny.settings(epochs=12)
    arguments = [sys.executable, "-c", CHILD, str(Path(__file__).parent)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path("scratch/train").glob("*/step-000004/state.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not OUT.exists()
    caplog.set_level("INFO")
    train.run(settings, **READS, out=OUT)
    assert "going on from step" in caplog.text
    train.run(settings, **READS, out=Path("undisturbed"))
    assert tree(OUT) == tree(Path("undisturbed"))
