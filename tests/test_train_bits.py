"""A base in 4 bits and moments in 8, where bitsandbytes is installed; and what is said where it is not."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

import tiny
from sotaque import backends, files
from sotaque.errors import SettingsError
from sotaque.settings import Lora
from sotaque.training import bits, lora, merge
from test_resume import interrupted
from test_train import losses, with_train

INSTALLED = importlib.util.find_spec(bits.PACKAGE) is not None
BASE, OUT = tiny.READS["base"], tiny.LORA


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """With matrices of 64 x 64 and more: smaller ones fill no block."""
    monkeypatch.chdir(tmp_path)
    settings = tiny.world()
    tiny.network(BASE / "network", tiny.SMALL, hidden=64)
    return settings


def in_four(settings):
    return dataclasses.replace(settings, lora=Lora(rank=4, alpha=8, base_4bit=True))


def in_eight(settings):
    """An adapter whose tensors are long enough, 4,096 numbers, for moments in 8 bits."""
    return dataclasses.replace(with_train(settings, optimizer="adamw8bit"), lora=Lora(rank=64, alpha=64))


if not INSTALLED:

    @pytest.mark.parametrize(("change", "key"), [
        (in_four, "lora.base_4bit: true"), (in_eight, "train.optimizer: adamw8bit"),
    ])  # fmt: skip
    def test_without_the_package_the_command_to_type_is_said(settings, change, key):
        with pytest.raises(SettingsError, match=f"{key} needs the package .* -m pip install bitsandbytes"):
            tiny.train(change(settings))
        assert not OUT.exists()

else:

    def test_the_layers_under_the_adapter_take_an_eighth_and_compute_nearly_the_same(settings):
        backend = backends.load("orpheus", BASE, torch.device("cpu"))
        plain, x = backend.load_network(), torch.randn(5, 64)
        small = bits.in_four(backend.load_network(), ("q_proj", "down_proj"), torch.float32)
        for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
            before, after = plain.get_submodule(name), small.get_submodule(name)
            assert after.weight.numel() * after.weight.element_size() * 8 == before.weight.numel() * 4
            x = torch.randn(5, before.in_features)
            error = (after(x) - before(x)).norm() / before(x).norm()
            assert 0 < error < 0.15
        same = "model.layers.0.self_attn.k_proj.weight"
        assert torch.equal(plain.get_parameter(same), small.get_parameter(same))

    def test_over_a_base_in_four_bits_it_learns_and_merges_into_the_whole_base(settings):
        metrics = tiny.train(in_four(settings))
        rows = losses()
        assert rows[-1]["val_nats"] < rows[0]["val_nats"] - 0.5
        tiny.train(dataclasses.replace(settings, lora=Lora(rank=4, alpha=8)), Path("whole"))
        assert rows[-1]["val_nats"] == pytest.approx(losses(Path("whole"))[-1]["val_nats"], abs=0.3)
        files.write_json(Path("selected.json"), {"step": metrics["steps"]})
        figures = merge.run(settings, model=tiny.READS["model"], base=BASE, lora=OUT,
                            selected=Path("selected.json"), out=Path("merged"))  # fmt: skip
        assert figures["reloaded_logit_difference"] < 1e-3

    @pytest.mark.parametrize("change", [in_four, in_eight])
    def test_stopped_it_goes_on_bit_by_bit(settings, monkeypatch, change):
        settings = change(settings)
        tiny.train(settings, Path("undisturbed"))
        scratch = interrupted(settings, monkeypatch, 4)
        kept = lora.load_file(scratch / "step-000004/optimizer.safetensors")
        assert (torch.uint8 in {value.dtype for value in kept.values()}) == (change is in_eight)
        tiny.train(settings)
        assert tiny.tree(OUT) == tiny.tree(Path("undisturbed"))

    def test_moments_in_eight_bits_learn_about_as_well(settings):
        settings = in_eight(settings)
        tiny.train(settings)
        tiny.train(with_train(settings, optimizer="adamw"), Path("whole"))
        assert losses()[-1]["val_nats"] == pytest.approx(losses(Path("whole"))[-1]["val_nats"], abs=0.3)
