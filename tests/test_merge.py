"""Merging the selected adapter: what is written loads like the base and answers like the adapter."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import tiny
from faults import largest_file
from sotaque import backends, files
from sotaque.errors import ModelError
from sotaque.settings import Lora
from sotaque.training import lora, merge, record

CPU = torch.device("cpu")
BASE, LORA, OUT = Path("models/tiny/base"), Path("models/tiny/lora"), Path("models/tiny/merged")
TARGETS = ("q_proj", "v_proj", "down_proj")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A base and the adapters of steps 2 and 4, neither trained by the loop."""
    monkeypatch.chdir(tmp_path)
    Path("workflow/models").mkdir(parents=True)
    Path("workflow/models/tiny.yaml").write_text(tiny.SPEC)
    tiny.base(BASE, tiny.SMALL)
    backend = backends.load("orpheus", BASE, CPU)
    for step in (2, 4):
        network = lora.attach(backend, backend.load_network(), TARGETS, Lora(rank=4, alpha=8), seed=step)
        for parameter in lora.trainable(network).values():
            torch.nn.init.normal_(parameter, std=0.2)
        lora.save(network, LORA / lora.step_name(step))
    record.write(tiny.RECORD, LORA)
    return tiny.settings()


def run(settings, step=4):
    files.write_json(Path("selected.json"), {"step": step})
    return merge.run(settings, model=Path("workflow/models/tiny.yaml"), base=BASE, lora=LORA,
                     selected=Path("selected.json"), out=OUT)  # fmt: skip


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_merged_weight_is_base_plus_scaled_product(settings):
    """W + alpha / rank * B A, by hand for one layer; layers without an adapter are untouched."""
    run(settings)
    before, after = weights(BASE / "network"), weights(OUT)
    adapter = load_file(LORA / "step-000004/adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    assert torch.allclose(after[f"{name}.weight"], before[f"{name}.weight"] + 2 * b @ a, atol=1e-6)
    same = "model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(after[same], before[same])


def test_a_full_disk_leaves_no_merged_model_and_names_the_file(settings):
    size = (BASE / "network/model.safetensors").stat().st_size
    with largest_file(size - 1), pytest.raises(OSError, match=r"File too large: '.*model\.safetensors'"):
        run(settings)
    assert not OUT.exists()
    assert not list(OUT.parent.glob(".merged*")), "nothing half-written is left"
    run(settings)


def test_a_merged_model_carries_the_licence_of_its_base(settings):
    """Its front matter is what the hub reads; a base of the hub is named with its commit, a folder is not."""
    spec = Path("workflow/models/tiny.yaml")
    licence, commit = 'CC-BY-NC-SA-4.0: "no" commercial use', "a" * 40
    values = yaml.safe_load(tiny.SPEC) | {"weights_licence": licence}
    values["network"] = {"hub": "someone/a-model", "revision": commit}
    spec.write_text(yaml.safe_dump(values))
    run(settings, 2)
    _, front, text = (OUT / "README.md").read_text().split("---\n")
    assert yaml.safe_load(front)["license_name"] == licence
    assert yaml.safe_load(front)["base_model"] == "someone/a-model"
    assert f"someone/a-model at {commit}" in text
    assert "step 2" in text
    assert licence in text
    spec.write_text(tiny.SPEC)
    run(settings, 0)
    text = (OUT / "README.md").read_text()
    assert "base_model" not in text
    assert str(Path.cwd()) not in text
    assert "The base itself" in text


def test_the_selected_step_is_the_one_that_is_merged(settings):
    run(settings, 2)
    two = weights(OUT)
    run(settings, 4)
    assert not torch.equal(two["model.layers.0.mlp.down_proj.weight"],
                           weights(OUT)["model.layers.0.mlp.down_proj.weight"])  # fmt: skip


def test_transformers_itself_loads_the_merged_model(settings):
    from transformers import AutoTokenizer, LlamaForCausalLM

    assert run(settings)["reloaded_logit_difference"] < 1e-3
    ids = AutoTokenizer.from_pretrained(OUT)("ana: olá", return_tensors="pt")["input_ids"]
    backend = backends.load("orpheus", BASE, CPU)
    with torch.inference_mode():
        theirs = LlamaForCausalLM.from_pretrained(OUT)(ids).logits
        ours = lora.load(backend.load_network(), LORA / "step-000004")(ids).logits
    assert torch.allclose(theirs, ours, atol=1e-4)


def test_merging_twice_gives_equal_bytes(settings):
    run(settings)
    first = {p.name: files.sha256(p) for p in files.walk(OUT)}
    run(settings)
    assert {p.name: files.sha256(p) for p in files.walk(OUT)} == first
    names = {p.name for p in files.walk(BASE / "network")}
    assert set(first) == names | {"README.md", "generation_config.json"}


def test_upstreams_defaults_end_at_speech_end(settings):
    """A base says that the end of a text ends its output; with the merged folder alone, speech ends."""
    from transformers import AutoModelForCausalLM

    path = BASE / "network/generation_config.json"
    before = files.read_json(path) if path.exists() else {}
    files.write_json(
        path, before | {"eos_token_id": tiny.SMALL.text_end, "_from_model_config": True, "top_k": 7}
    )
    run(settings)
    llama = AutoModelForCausalLM.from_pretrained(OUT)
    layout = backends.load("orpheus", BASE, CPU).layout
    chosen = llama.generation_config
    assert (chosen.eos_token_id, chosen.pad_token_id) == (layout.speech_end, layout.pad)
    assert (chosen.temperature, chosen.top_p, chosen.top_k) == (0.6, 0.9, 0)
    assert (chosen.repetition_penalty, chosen.do_sample) == (1.1, True)
    always = torch.zeros(len(llama.lm_head.weight))
    always[layout.speech_end] = 1e4
    llama.lm_head.register_forward_hook(lambda *parts: parts[2] + always)
    ids = torch.tensor([layout.prompt([65, 66])])
    said = llama.generate(ids)[0, ids.shape[1] :]
    assert said.tolist() == [layout.speech_end]


def test_greedy_settings_leave_no_sampling_behind(settings):
    from transformers import GenerationConfig

    spec = Path("workflow/models/tiny.yaml")
    spec.write_text(tiny.SPEC.replace("temperature: 0.6", "temperature: 0"))
    files.write_json(BASE / "network/generation_config.json", {"temperature": 0.9, "do_sample": True})
    run(settings)
    values = files.read_json(OUT / "generation_config.json")
    assert values["do_sample"] is False
    assert not values.keys() & {"temperature", "top_p", "top_k"}
    GenerationConfig.from_pretrained(OUT).validate(strict=True)


def test_the_card_says_how_to_speak_with_it_and_what_was_trained(settings):
    run(settings)
    text = (OUT / "README.md").read_text()
    assert "The speaker's name stands before the text: `{speaker}: text`." in text
    assert "evaluated with temperature 0.6, top_p 0.9, repetition_penalty 1.1, max_s 0.2" in text
    assert "- Speakers: `ana`, `zé`." in text
    assert "- Adaptation: LoRA of rank 32, alpha 64, dropout 0;" in text
    run(settings, 0)
    assert "## Training" not in (OUT / "README.md").read_text()


def test_step_0_is_the_base_itself(settings):
    assert run(settings, 0)["merged_logit_difference"] == 0
    assert weights(OUT).keys() == weights(BASE / "network").keys()
    assert all(torch.equal(value, weights(OUT)[key]) for key, value in weights(BASE / "network").items())


def test_a_base_in_bfloat16_stays_in_bfloat16(settings):
    path = BASE / "network/model.safetensors"
    save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path, {"format": "pt"})
    figures = run(settings)
    assert {value.dtype for value in weights(OUT).values()} == {torch.bfloat16}
    assert figures["merged_logit_difference"] < 1e-3 < figures["reloaded_logit_difference"] < 1.0


def test_a_step_that_is_not_there_is_named(settings):
    with pytest.raises(ModelError, match=r"models/tiny/lora has no result of step 3, only of \[2, 4\]"):
        run(settings, 3)


def test_a_merge_that_loses_the_adapter_is_caught(settings, monkeypatch):
    """Fault injected: the merged network is written without what was learnt."""
    monkeypatch.setattr("peft.PeftModel.merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(ModelError, match="a logit of the merged network differs by"):
        run(settings)


def test_a_file_that_is_not_what_was_merged_is_caught(settings, monkeypatch):
    """Fault injected: one weight is written wrong."""
    from sotaque.backends.orpheus import Backend

    save = Backend.save_merged

    def wrong(self, network, folder):
        save(self, network, folder)
        state = weights(folder)
        state["model.layers.1.mlp.up_proj.weight"][0, 0] += 0.1
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    monkeypatch.setattr(Backend, "save_merged", wrong)
    with pytest.raises(ModelError, match=r"up_proj.weight was read back with a difference of 0.1"):
        run(settings)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_without_a_file_is_named(settings, name):
    (LORA / "step-000004" / name).unlink()
    with pytest.raises(ModelError, match=f"models/tiny/lora/step-000004: not an adapter.*{name}"):
        run(settings)
