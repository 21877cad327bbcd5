"""A whole network that learns, and peft's own options: trained, stopped, gone on with, loaded and merged."""

import dataclasses
from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file

import tiny
from sotaque import backends, device, files
from sotaque.errors import ModelError
from sotaque.settings import Lora
from sotaque.training import lora, merge, result, select
from test_resume import interrupted
from test_train import losses, with_train

OUT, BASE = tiny.LORA, tiny.READS["base"]
CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.world()


def merged(settings, step):
    files.write_json(Path("selected.json"), {"step": step})
    return merge.run(settings, model=tiny.READS["model"], base=BASE, lora=OUT,
                     selected=Path("selected.json"), out=Path("merged"))  # fmt: skip


def weights(folder):
    return load_file(folder / "model.safetensors")


def full(settings):
    return dataclasses.replace(with_train(settings, method="full"), lr=1e-3)


def in_bfloat16():
    path = BASE / "network/model.safetensors"
    save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path, {"format": "pt"})


def test_a_whole_network_learns_and_is_merged_as_it_is(settings):
    metrics = tiny.train(full(settings))
    assert losses()[-1]["val_nats"] < losses()[0]["val_nats"] - 0.1
    base, learnt = weights(BASE / "network"), weights(OUT / "step-000006")
    assert metrics["trainable_parameters"] == sum(value.numel() for value in base.values())
    assert learnt.keys() == base.keys()
    assert not any(torch.equal(learnt[key], base[key]) for key in base if "layers" in key)
    assert merged(settings, 6)["merged_logit_difference"] == 0
    own = {name: files.sha256(Path("merged") / name) for name in ("README.md", "generation_config.json")}
    assert tiny.tree(Path("merged")) == tiny.tree(OUT / "step-000006") | own


def test_transformers_loads_what_learnt_and_select_hears_it(settings):
    from transformers import LlamaForCausalLM

    tiny.train(full(settings))
    backend = backends.load("orpheus", BASE, CPU)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        theirs = LlamaForCausalLM.from_pretrained(OUT / "step-000006", dtype=device.speaking_dtype(CPU))
        theirs = theirs(ids).logits
        ours = select.adapted(backend, OUT / "step-000006")(ids).logits
        before = select.adapted(backend, None)(ids).logits
    assert torch.equal(theirs, ours)
    assert not torch.allclose(ours, before, atol=1e-2)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_stopped_it_goes_on_bit_by_bit_whatever_the_base_is_stored_in(settings, monkeypatch, stored):
    """The results are rounded to the base's bits; the weights that learn are not."""
    if stored == "bfloat16":
        in_bfloat16()
    tiny.train(full(settings), Path("undisturbed"))
    scratch = interrupted(full(settings), monkeypatch, 4)
    kept = [path.parent.name for path in scratch.rglob("weights.safetensors")]
    assert sorted(kept) == ["step-000002", "step-000004"]
    tiny.train(full(settings))
    assert tiny.tree(OUT) == tiny.tree(Path("undisturbed"))
    assert {str(v.dtype) for v in weights(OUT / "step-000006").values()} == {f"torch.{stored}"}


def test_an_adapter_that_is_not_there_is_named(settings):
    backend = backends.load("orpheus", BASE, CPU)
    with pytest.raises(ModelError, match="models/tiny/lora/step-000001 is not there; train again"):
        result.load(backend, OUT / "step-000001")


OPTIONS = {
    "rslora": Lora(rank=4, alpha=8, rslora=True),
    "dora": Lora(rank=4, alpha=8, dora=True),
    "norm": Lora(rank=4, alpha=8, modules_to_save=("norm",)),
    "embeddings": Lora(rank=4, alpha=8, modules_to_save=("embed_tokens", "lm_head")),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_with_peft_s_options_it_learns_and_merges_into_what_it_was(settings, option):
    """Trained by the loop, read back, merged and read back again: the same logits."""
    settings = dataclasses.replace(settings, lora=OPTIONS[option])
    tiny.train(settings)
    assert losses()[-1]["val_nats"] < losses()[0]["val_nats"] - 0.5
    figures = merged(settings, 6)
    assert figures["merged_logit_difference"] < 1e-3
    assert figures["reloaded_logit_difference"] < 1e-3
    base, after = weights(BASE / "network"), weights(Path("merged"))
    whole = {"norm": "model.norm.weight", "embeddings": "model.embed_tokens.weight"}.get(option)
    for key in ("model.norm.weight", "model.embed_tokens.weight"):
        assert torch.equal(base[key], after[key]) == (key != whole)


def test_in_bfloat16_all_that_learns_is_float32(settings):
    """In bfloat16 a weight of 1 could not follow a step below 0.002."""
    backend = backends.load("orpheus", BASE, CPU)
    plain = backend.load_network(dtype=torch.bfloat16)
    network = lora.attach(backend, plain, ("q_proj",), OPTIONS["embeddings"], seed=0)
    assert {p.dtype for p in lora.trainable(network).values()} == {torch.float32}
    assert {p.dtype for p in network.parameters() if not p.requires_grad} == {torch.bfloat16}
    llama = network.get_base_model()
    assert llama.lm_head.weight is llama.model.embed_tokens.weight
    exact = llama.lm_head.weight.data.add_(1e-4).clone()
    with lora.like_the_base(network):
        assert llama.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(llama.lm_head.weight, exact)


def test_a_damaged_adapter_is_named(settings):
    tiny.train(settings)
    path = OUT / "step-000006" / lora.WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="step-000006: not an adapter of this network"):
        result.load(backends.load("orpheus", BASE, CPU), path.parent)


def test_rank_stabilized_scale_is_alpha_over_the_root_of_the_rank(settings):
    """Kalajdzievski, arXiv:2312.03732: alpha / sqrt(r), here 8 / 2."""
    backend = backends.load("orpheus", BASE, CPU)
    for chosen, scale in ((OPTIONS["rslora"], 4.0), (Lora(rank=4, alpha=8), 2.0)):
        network = lora.attach(backend, backend.load_network(), ("q_proj",), chosen, seed=0)
        scales = {m.scaling["default"] for m in network.modules() if isinstance(m, BaseTunerLayer)}
        assert scales == {scale}


def test_embeddings_that_share_their_weights_go_on_sharing_them(settings):
    settings = dataclasses.replace(settings, lora=OPTIONS["embeddings"])
    tiny.train(settings)
    backend = backends.load("orpheus", BASE, CPU)
    llama = result.merged(result.load(backend, OUT / "step-000006"))
    assert torch.equal(llama.lm_head.weight, llama.model.embed_tokens.weight)


def test_a_layer_to_learn_whole_that_is_not_there_is_named(settings):
    settings = dataclasses.replace(settings, lora=Lora(modules_to_save=("embeddings",)))
    with pytest.raises(
        ModelError, match=r"modules_to_save names 'embeddings'; there is no such module, only"
    ):
        tiny.train(settings)
    assert not OUT.exists()
