"""Training: equal runs give equal bytes, a killed one too, and what cannot be trained on is said."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sotaque import files, manifest
from sotaque.data.tokenize import TokenRow, Tokens
from sotaque.errors import InputError, IntegrityError, ModelError
from sotaque.training import inputs, lora, memory, train
from sotaque.training import losses as curve
from sotaque.training.batching import Skipped

OUT, READS = tiny.LORA, tiny.READS


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.world()


def with_train(settings, **values):
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, **values))


def losses(out=OUT):
    return [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_adapters_are_there(settings):
    metrics = tiny.train(settings)
    rows = losses()
    assert metrics["steps"] == 6
    assert lora.steps(OUT) == [2, 4, 6]
    assert [row["step"] for row in rows] == list(range(7))
    assert [row["step"] for row in rows if row["val_nats"] is not None] == [0, 2, 4, 6]
    assert rows[-1]["val_nats"] < rows[0]["val_nats"] - 0.5
    assert rows[0]["val_nats"] == metrics["val_loss_nats_of_base"]
    assert not list(Path("scratch/train").iterdir())


def test_checkpoints_stay_until_the_output_is_sealed(settings):
    train.run(settings, **READS, out=OUT)
    [scratch] = Path("scratch/train").iterdir()
    assert lora.steps(scratch) == [2, 4, 6]
    train.sealed(settings, **READS, out=OUT)
    assert not list(Path("scratch/train").iterdir())


def test_tokens_are_the_labels_of_the_samples(settings):
    tiny.train(settings)
    tokens = Tokens(READS["tokens"], ("00", "01"), READS["base"])
    clips = manifest.read(Path("data/splits/train.jsonl"))
    labels = sum(tokens.codes(u.id).size + 2 for u in clips)
    assert losses()[-1]["tokens"] == settings.epochs * labels


def test_equal_runs_are_equal_bytes_and_name_no_machine(settings, tmp_path):
    tiny.train(settings)
    tiny.train(settings, Path("other"))
    assert tiny.tree(OUT) == tiny.tree(Path("other"))
    for path in files.walk(OUT):
        assert str(tmp_path).encode() not in path.read_bytes()
    assert (
        json.loads((OUT / "step-000002/adapter_config.json").read_text())["base_model_name_or_path"] is None
    )


def test_another_seed_is_another_run(settings):
    tiny.train(settings)
    tiny.train(dataclasses.replace(settings, seed=8), Path("other"))
    assert losses()[-1]["train_nats"] != losses(Path("other"))[-1]["train_nats"]


def test_peft_itself_loads_the_adapter(settings):
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    tiny.train(settings)
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
    samples = inputs.samples(settings, backend, READS["splits"], READS["tokens"], READS["base"])
    return train.Trainer.build(settings, model_spec.read("tiny"), backend, *samples)


def test_gradient_checkpointing_changes_nothing(settings):
    tiny.train(settings)
    tiny.train(with_train(settings, gradient_checkpointing=True), Path("other"))
    assert losses()[-1]["val_nats"] == pytest.approx(losses(Path("other"))[-1]["val_nats"], abs=1e-5)


def test_bfloat16_trains_to_about_the_same_loss(settings):
    tiny.train(settings)
    tiny.train(with_train(settings, precision="bfloat16"), Path("other"))
    assert losses()[-1]["val_nats"] == pytest.approx(losses(Path("other"))[-1]["val_nats"], abs=0.1)
    state = lora.load_file(Path("other/step-000006/adapter_model.safetensors"))
    assert {value.dtype for value in state.values()} == {torch.float32}


@pytest.mark.parametrize(("schedule", "rates"), [
    ("linear", (0.2, 0.1, 0.0125)), ("constant", (0.2, 0.2, 0.2)),
    ("cosine", (0.2, 0.1, 0.1 * (1 - 0.9807852804))),  # the cosine of 15/16 of a half turn
])  # fmt: skip
def test_the_learning_rate_behind_the_warm_up(schedule, rates):
    """16 steps after 4: the first of them, the one in the middle and the last."""
    found = [train.learning_rate(step, 20, 0.2, 0.2, schedule) for step in (5, 13, 20)]
    assert found == pytest.approx(rates)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_another_schedule_shapes_the_rates_of_the_run(settings, schedule):
    tiny.train(with_train(settings, schedule=schedule))
    found = [row["lr"] for row in losses()[1:]]
    assert found == [train.learning_rate(step, 6, 1e-2, 0.05, schedule) for step in range(1, 7)]


@pytest.mark.parametrize(("found", "patience", "ends"), [
    ([3, 2, 1], 1, False), ([3, 2, 2], 1, True), ([3, 2, 2.5], 2, False), ([3, 2, 2.5, 2.1], 2, True),
    ([3, 2, 2.5, 1.9], 2, False), ([3], 1, False), ([3, 4], 1, True), ([3, 4, 5], 0, False),
])  # fmt: skip
def test_when_it_is_in_vain_to_go_on(found, patience, ends):
    """Validation losses with a step between each that is not measured."""
    history = [row for loss in found for row in ({"val_nats": loss}, {"val_nats": None})]
    assert curve.worn_out(history, patience) == ends


def test_a_run_that_learns_nothing_more_ends_early_and_ends_so_again(settings, caplog):
    """At a rate of zero no validation is better than the base's; resumed there, it ends there."""
    caplog.set_level("INFO")
    settings = dataclasses.replace(with_train(settings, patience=2), lr=0.0)
    assert train.run(settings, **READS, out=OUT)["steps"] == 4
    assert lora.steps(OUT) == [2, 4]
    assert "ends early at step 4 of 6: 2 validations in a row" in caplog.text
    first = tiny.tree(OUT)
    assert train.run(settings, **READS, out=OUT)["steps"] == 4
    assert tiny.tree(OUT) == first


@pytest.mark.parametrize(("step", "rate"), [(1, 0.05), (2, 0.1), (4, 0.2), (5, 0.2), (13, 0.1), (20, 0.0125)])
def test_the_learning_rate_rises_then_falls(step, rate):
    """20 steps, the first 4 of them rising to 0.2; then 16 falling ones, each by 0.2 / 16."""
    assert train.learning_rate(step, 20, peak=0.2, warmup_share=0.2) == pytest.approx(rate)


def poison(monkeypatch, *steps, gradient=False):
    """The loss of these steps is NaN; or only their gradient is, by the slope of a square root at zero."""
    from sotaque.backends.orpheus import Backend

    calls = {"steps": 0}
    take_step, loss = train.take_step, Backend.loss

    def counting(trainer, batches, step, rate):
        calls["step"] = step
        return take_step(trainer, batches, step, rate)

    def poisoned(self, network, batch):
        total, count = loss(self, network, batch)
        if calls.get("step") in steps and network.training:
            weight = next(iter(lora.trainable(network).values()))
            total = total + weight.sum().mul(0).sqrt() if gradient else total * float("nan")
        return total, count

    monkeypatch.setattr(train, "take_step", counting)
    monkeypatch.setattr(Backend, "loss", poisoned)


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_takes_no_step(settings, monkeypatch, caplog, gradient):
    settings = with_train(settings, save_every_steps=1)
    poison(monkeypatch, 3, gradient=gradient)
    metrics = tiny.train(settings)
    assert metrics["failed_steps"] == 1
    assert losses()[3]["train_nats"] is None
    assert losses()[3]["tokens"] == losses()[2]["tokens"]
    assert losses()[3]["val_nats"] == losses()[2]["val_nats"]
    weights = [(OUT / f"step-00000{n}/adapter_model.safetensors").read_bytes() for n in (2, 3, 4)]
    assert weights[0] == weights[1] != weights[2]
    ids = [name for name in (f"clip-{i:03d}" for i in range(12)) if name in caplog.text]
    assert len(ids) == 4


def test_three_such_steps_in_a_row_stop_the_run_by_name(settings, monkeypatch):
    poison(monkeypatch, 1, 3, 4, 5)
    with pytest.raises(ModelError, match=r"not finite in 3 steps in a row \(step 3: clip-.*; step 5: clip-"):
        tiny.train(settings)
    assert not OUT.exists()


def test_such_steps_here_and_there_do_not_stop_it(settings, monkeypatch):
    poison(monkeypatch, 1, 2, 4, 5)
    assert tiny.train(settings)["failed_steps"] == 4


def test_how_many_in_a_row_is_a_parameter(settings, monkeypatch):
    poison(monkeypatch, 2)
    with pytest.raises(ModelError, match=r"not finite in 1 steps in a row \(step 2: clip-"):
        tiny.train(with_train(settings, max_failed_steps=1))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_validation_loss_that_is_not_finite_is_named(settings, monkeypatch, value):
    from sotaque.backends.orpheus import Backend

    loss = Backend.loss

    def poisoned(self, network, batch):
        total, count = loss(self, network, batch)
        return (total if network.training else total * float(value)), count

    monkeypatch.setattr(Backend, "loss", poisoned)
    with pytest.raises(ModelError, match=r"the validation clips clip-01\d, clip-01\d is not finite"):
        tiny.train(settings)


def test_a_card_that_is_too_small_is_said_with_the_way_out(settings, monkeypatch):
    """Fault injected: the third step asks for more memory than there is."""
    take_step = train.take_step

    def greedy(trainer, batches, step, rate):
        if step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return take_step(trainer, batches, step, rate)

    monkeypatch.setattr(train, "take_step", greedy)
    with pytest.raises(ModelError, match=r"after step 2: CUDA out of memory. .* Lower train.batch_clips"):
        tiny.train(settings)


def test_a_card_that_cannot_even_hold_the_network_is_told_so(settings, monkeypatch):
    def greedy(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(memory, "check", greedy)
    with pytest.raises(
        ModelError, match=r"before the first step: CUDA out of memory. .* The card is too small"
    ):
        tiny.train(settings)


def test_what_cannot_be_trained_on_is_said(settings, caplog):
    """One clip over the limit, one rejected by tokenize; the others are trained on."""
    row = next(iter(manifest.read(Path("data/splits/train.jsonl"))))
    clips = manifest.read(Path("data/splits/train.jsonl"))
    long = dataclasses.replace(row, text="muito " * 50)
    manifest.write(Path("data/splits/train.jsonl"), [long, *clips[1:]])
    silence(clips[1].id)
    metrics = tiny.train(with_train(settings, max_tokens=200))
    skipped = manifest.read(OUT / "skipped.jsonl", Skipped)
    assert metrics["skipped"] == 2
    assert [(s.id, s.part, s.reason) for s in skipped] == [
        (long.id, "train", f"0.1 s, {skipped[0].tokens} tokens; train.max_tokens is 200"),
        (clips[1].id, "train", "silent"),
    ]
    assert skipped[0].tokens > 300
    assert long.id in caplog.text


def test_a_text_that_spells_a_control_token_costs_that_clip_only(settings):
    path = Path("data/splits/train.jsonl")
    first, *others = manifest.read(path)
    manifest.write(path, [dataclasses.replace(first, text="oi <custom_token_2>"), *others])
    assert tiny.train(settings)["skipped"] == 1
    [skipped] = manifest.read(OUT / "skipped.jsonl", Skipped)
    assert skipped.id == first.id
    assert "spells the control token <custom_token_2>" in skipped.reason


def test_a_code_that_the_model_has_no_id_for_is_named(settings):
    """Codes go to 31 here; one of them is written over."""
    path = READS["tokens"] / "01.npy"
    codes = np.load(path)
    codes[0, 3] = 32
    np.save(path, codes)
    first = next(row.id for row in manifest.read(path.with_suffix(".jsonl"), TokenRow) if row.length)
    with pytest.raises(IntegrityError, match=f"{first}: frame 0, slot 3: the code is 32, expected 0 to 31"):
        tiny.train(settings)


def test_a_network_with_too_small_a_vocabulary_is_named(settings):
    ids = dataclasses.replace(tiny.SMALL, vocabulary=300)
    tiny.network(READS["base"] / "network", ids)
    with pytest.raises(ModelError, match="tiny/base/network: the vocabulary has 300 ids, but the audio"):
        tiny.train(settings)


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
        tiny.train(settings)


def test_an_unknown_lora_target_is_named(settings):
    path = READS["model"]
    path.write_text(path.read_text().replace("q_proj", "query"))
    with pytest.raises(
        ModelError, match=r"lora_targets names 'query'; there is no such module, only: .*q_proj"
    ):
        tiny.train(settings)
