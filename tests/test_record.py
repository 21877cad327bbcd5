"""training.json: what was done, read back and described."""

import dataclasses
from pathlib import Path

import pytest

import tiny
from sotaque.errors import InputError
from sotaque.training import record
from test_train import with_train


def described(**changes):
    return dict(record.describe(dataclasses.replace(tiny.RECORD, **changes)))


def lora(**changes):
    return described(lora=dataclasses.replace(tiny.RECORD.lora, **changes))["Adaptation"]


def test_it_is_read_as_it_was_written(tmp_path):
    for one in (tiny.RECORD, dataclasses.replace(tiny.RECORD, method="full", lora=None)):
        record.write(one, tmp_path)
        assert record.read(tmp_path) == one


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"lora": 3}', '{"lora": null, "steps": 3}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / record.NAME).write_text(text)
    with pytest.raises(InputError, match=r"training\.json: not a record of a training"):
        record.read(tmp_path)


def test_lora_by_hand():
    assert described() == {
        "Adaptation": "LoRA of rank 32, alpha 64, dropout 0; on q_proj, v_proj; 12,345 trainable parameters",
        "Optimization": "AdamW, peak learning rate 0.001, linear schedule after a warm-up of 5%, weight "
        "decay 0, gradient norm at most 1",
        "Batches": "4 clips an optimizer step; no loss on the text",
        "Training": "600 steps, 6 epochs over 400 clips of 31.2 min; float32; seed 42",
    }


def test_every_option_is_said():
    assert lora(rslora=True).startswith(
        "LoRA of rank 32, alpha 64, dropout 0; rsLoRA: scaled by alpha / sqrt"
    )
    assert lora(dora=True).startswith("LoRA with DoRA of rank 32")
    assert lora(base_4bit=True).startswith("QLoRA (LoRA on a base in 4 bits) of rank 32")
    assert "trained whole beside it: embed_tokens, lm_head" in lora(
        modules_to_save=("embed_tokens", "lm_head")
    )
    assert "on .*q_proj;" in lora(targets=".*q_proj")
    assert described(optimizer="adamw8bit")["Optimization"].startswith("AdamW with moments in 8 bits")
    assert described(accumulate=8)["Batches"].startswith(
        "32 clips an optimizer step (4 at once, accumulated 8"
    )
    assert "packed into one sequence" in described(packing=True)["Batches"]
    assert "loss on the text too" in described(mask_prompt=False)["Batches"]
    assert described(steps=150, epochs=1.5)["Training"].startswith("150 steps of 600 planned, 1.5 epochs")
    assert "mixed precision, bfloat16" in described(precision="bfloat16")["Training"]
    assert "; 1 clip left out" in described(skipped=1)["Training"]


def test_what_was_done_is_recorded_and_not_what_was_asked_for(tmp_path, monkeypatch):
    """Two optimizer steps an epoch of four; ended early by train.patience, at a learning rate of zero."""
    monkeypatch.chdir(tmp_path)
    settings = dataclasses.replace(tiny.world(8, 2), epochs=50, lr=0.0)
    tiny.train(with_train(settings, patience=2, save_every_steps=2))
    done = record.read(tiny.LORA)
    assert done.steps < done.planned_steps == 100
    assert done.epochs == pytest.approx(done.steps / 2)
    assert (done.clips, done.speakers, done.precision) == (8, ("ana",), "float32")
    assert done.lora.rank == settings.lora.rank
    assert done.minutes == pytest.approx(sum(clip_s(n) for n in range(8)) / 60, abs=1e-3)
    first = (tiny.LORA / record.NAME).read_bytes()
    tiny.train(with_train(settings, patience=2, save_every_steps=2), Path("again"))
    assert (Path("again") / record.NAME).read_bytes() == first


def test_full_fine_tuning_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = with_train(tiny.world(8, 2), method="full")
    tiny.train(dataclasses.replace(settings, epochs=1))
    done = record.read(tiny.LORA)
    assert (done.method, done.lora) == ("full", None)


def clip_s(number):
    return int((0.05 + 0.01 * (number % 5)) * tiny.RATE_HZ) / tiny.RATE_HZ
