"""A base whose embedding and output share one weight: what can be adapted, what is refused and when."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import families
import tiny
from sotaque import backends, files, yaml_file
from sotaque.errors import ModelError
from sotaque.settings import Lora
from sotaque.training import lora, merge, train

OUT, BASE, MERGED = tiny.LORA, tiny.READS["base"], Path("models/tiny/merged")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tiny.world(8, 2)
    return dataclasses.replace(made, lora=dataclasses.replace(made.lora, dropout=0.0))


def aim(targets):
    """Let the model's file adapt these modules."""
    path = Path("workflow/models/tiny.yaml")
    files.write_text(path, json.dumps(yaml_file.parse(tiny.SPEC, "spec") | {"lora_targets": targets}))


def untie():
    """The same base with an output layer of its own."""
    from transformers import LlamaForCausalLM

    llama = LlamaForCausalLM.from_pretrained(BASE / "network")
    llama.config.tie_word_embeddings = False
    llama.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn_like(llama.lm_head.weight))
    llama.save_pretrained(BASE / "network")


def merged(settings):
    step = max(lora.steps(OUT))
    files.write_json(Path("selected.json"), {"step": step})
    return merge.run(settings, model=tiny.READS["model"], base=BASE, lora=OUT, selected=Path("selected.json"),
                     out=MERGED)  # fmt: skip


@pytest.mark.parametrize(("targets", "named"), [
    (["q_proj", "lm_head"], "lm_head, whose weight is tied to model.embed_tokens"),
    (["q_proj", "embed_tokens"], "model.embed_tokens, whose weight is tied to lm_head"),
    (["embed_tokens", "lm_head"], "whose weight is tied to"),
    (".*", "whose weight is tied to"),
    (r"model\.embed_tokens", "model.embed_tokens, whose weight is tied to lm_head"),
], ids=["lm_head", "embed_tokens", "both", "everything", "expression"])  # fmt: skip
def test_an_adapter_on_a_tied_weight_is_refused_before_training(settings, monkeypatch, targets, named):
    """Not by merge, after the whole training."""
    aim(targets)
    monkeypatch.setattr(train, "fit", None)
    with pytest.raises(ModelError, match=named) as caught:
        tiny.train(settings)
    assert "cannot be merged" in str(caught.value)
    assert "lora.modules_to_save: [" in str(caught.value)
    assert not OUT.exists()


@pytest.mark.parametrize(
    "whole", [("lm_head",), ("embed_tokens",), ("embed_tokens", "lm_head")], ids="+".join
)
def test_the_way_out_trains_both_as_one_and_merges(settings, whole):
    """modules_to_save, as the message says: embedding and output stay one weight, which was trained."""
    chosen = dataclasses.replace(settings, lora=dataclasses.replace(settings.lora, modules_to_save=whole))
    tiny.train(chosen)
    figures = merged(chosen)
    assert max(figures["merged_logit_difference"], figures["reloaded_logit_difference"]) < 1e-3
    before, after = (load_file(folder / "model.safetensors") for folder in (BASE / "network", MERGED))
    assert before.keys() == after.keys()
    assert not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


@pytest.mark.parametrize("targets", [["q_proj", "lm_head"], ["q_proj", "embed_tokens"]], ids=lambda t: t[-1])
def test_weights_that_are_not_tied_are_adapted_and_merged(settings, targets):
    untie()
    aim(targets)
    tiny.train(settings)
    figures = merged(settings)
    assert max(figures["merged_logit_difference"], figures["reloaded_logit_difference"]) < 1e-3
    keys = {"lm_head": "lm_head.weight", "embed_tokens": "model.embed_tokens.weight"}
    before, after = (load_file(folder / "model.safetensors") for folder in (BASE / "network", MERGED))
    changed = {name for name, key in keys.items() if not torch.equal(before[key], after[key])}
    assert changed == {targets[-1]}


def test_an_output_without_a_module_of_its_own_is_found(tmp_path):
    """OpenAudio multiplies by its embedding's weight; the other embeddings are used by themselves."""
    backend = backends.load("openaudio", families.FAMILIES["openaudio"].make(tmp_path), torch.device("cpu"))
    with pytest.raises(ModelError, match="includes embeddings, whose weight is tied to the output layer"):
        lora.attach(backend, backend.load_network(), ["wo", "embeddings"], Lora(rank=2), seed=0)
    lora.attach(backend, backend.load_network(), ["wo", "fast_embeddings"], Lora(rank=2), seed=0)
