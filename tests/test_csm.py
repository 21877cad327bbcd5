"""CSM: turns, the loss against upstream's audio path, speech against upstream's, and bad folders."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CsmForConditionalGeneration

import tiny
import tiny_csm
from families import CPU
from sotaque import yaml_file
from sotaque.backends import folders
from sotaque.backends.csm import Backend, codec, generate, layout
from sotaque.backends.csm import network as csm
from sotaque.backends.families import CsmGeneration, CsmLearning
from sotaque.backends.protocol import IGNORED, Prompt, Reference
from sotaque.errors import InputError, ModelError
from sotaque.settings import Lora
from sotaque.training import lora

HEARD, SAID = "outra frase", "olá, mundo"
IMPOSSIBLE = list(range(tiny_csm.CODEBOOK_SIZE, 2051))


@pytest.fixture(scope="module")
def subject(subjects):
    return subjects("csm")


def waves():
    """What is heard first, and what is said: 14 and 7 frames."""
    return tiny.wave(1.1, 1), tiny.wave(0.5, 2)


def prompt(backend):
    heard, _ = waves()
    return Prompt(SAID, "ana", "pt", Reference(HEARD, Path("heard.wav"), backend.encode([heard])[0]))


def upstream(inputs_of_both=True):
    """What transformers' own processor makes of both turns; without the second sound, a prompt."""
    heard, said = waves()
    turns = [(HEARD, heard), (SAID, said if inputs_of_both else None)]
    text = "".join(
        f"<|begin_of_text|>[0]{words}<|end_of_text|>" + ("" if w is None else "<|AUDIO|><|audio_eos|>")
        for words, w in turns
    )
    sounds = [w for _, w in turns if w is not None]
    return tiny_csm.processor()(text=text, audio=sounds, output_labels=inputs_of_both)


def test_a_turn_can_be_checked_by_hand():
    small = layout.Layout(begin=100, end=101, audio=102, audio_end=103, n_codebooks=2, codebook_size=8)
    row = small.text([7, 8]) + small.speech(np.array([[1, 2], [3, 0]], np.int16))
    assert row.ids.tolist() == [100, 7, 8, 101, 102, 102, 103]
    assert row.frames.tolist() == [[0, 0]] * 4 + [[1, 2], [3, 0], [0, 0]]
    assert row.audio.tolist() == [False] * 4 + [True] * 3


@pytest.mark.parametrize(("codes", "told"), [
    (np.zeros((3, 5)), r"shape \(3, 5\), expected \(F, 2\)"), (np.full((1, 2), 8), "8 to 8, expected 0 to 7"),
    (np.full((1, 2), -1), "-1 to -1"),
])  # fmt: skip
def test_codes_that_cannot_be_spoken_are_refused(codes, told):
    small = layout.Layout(100, 101, 102, 103, n_codebooks=2, codebook_size=8)
    with pytest.raises(ModelError, match=told):
        small.speech(codes)


def test_the_ids_are_those_of_upstreams_processor(backend):
    _, said = waves()
    row = backend.example(prompt(backend), backend.encode([said])[0], True).row
    assert row.ids.tolist() == upstream()["input_ids"][0].tolist()


def test_cached_codes_give_the_loss_of_the_audio_path(backend, network):
    """Upstream hears both waves; from our codes its own forward gives the same loss, to the last digit."""
    _, said = waves()
    item = backend.example(prompt(backend), backend.encode([said])[0], mask_prompt=False)
    batch = backend.collate([item])
    with torch.inference_mode():
        heard = network(**upstream())
        cached = network(inputs_embeds=csm.embedded(network, batch), labels=batch["labels"])
        total, count = backend.loss(network, batch)
    assert cached.loss.item() == heard.loss.item()
    assert count == 14 + 1 + 7 + 1
    assert (total / count).item() == pytest.approx(heard.loss.item(), rel=1e-6)


def test_amortised_it_is_the_loss_of_upstreams_labels(backend, network, monkeypatch):
    """The frames that the depth decoder leaves out are -101 to upstream, which hears the waves."""
    monkeypatch.setattr(backend, "learning", CsmLearning(depth_share=0.4))
    _, said = waves()
    batch = backend.collate([backend.example(prompt(backend), backend.encode([said])[0], mask_prompt=False)])
    learnt = batch["labels"][:, :, 0] != IGNORED
    frames = batch["labels"][learnt]
    torch.manual_seed(5)
    counts = csm.depth_counts(frames, torch.zeros(len(frames), dtype=torch.int64), 0.4)
    assert int((counts == 0).sum()) == 12  # of 21 frames; the two that end a turn are always learnt
    left_out = learnt.nonzero()[counts == 0]
    inputs, labels = upstream(), batch["labels"].clone()
    inputs["labels"][left_out[:, 0], left_out[:, 1]] = -101
    labels[left_out[:, 0], left_out[:, 1], 1:] = IGNORED
    with torch.inference_mode():
        heard = network.train()(**inputs)
        cached = network(inputs_embeds=csm.embedded(network, batch), labels=labels)
        torch.manual_seed(5)
        total, count = backend.loss(network, batch)
        whole, _ = backend.loss(network.eval(), batch)
    assert cached.loss.item() == heard.loss.item()
    assert (total / count).item() == pytest.approx(heard.loss.item(), rel=1e-6)
    assert whole.item() != pytest.approx(total.item(), rel=1e-3)  # what is validated is never amortised


def test_an_utterance_weighs_the_same_whatever_stands_beside_it():
    """Ten frames and an end: seven left out, four count 11/4; three and an end: two left out, two count 2."""
    frames, rows = torch.ones(15, 2), torch.tensor([0] * 11 + [1] * 4)
    frames[[10, 14]] = 0
    draws = [csm.depth_counts(frames, rows, 0.25) for _ in range(20)]
    for counts in draws:
        assert sorted(counts[:11].tolist()) == [0.0] * 7 + [2.75] * 4
        assert sorted(counts[11:].tolist()) == [0.0] * 2 + [2.0] * 2
        assert (counts[[10, 14]] > 0).all()
    assert len({tuple(counts.tolist()) for counts in draws}) > 1
    assert csm.depth_counts(frames, rows, 1.0).tolist() == [1.0] * 15
    assert csm.depth_counts(frames, rows, 0.0).nonzero()[:, 0].tolist() == [10, 14]


def test_a_frame_that_is_left_out_teaches_the_depth_decoder_nothing(backend, network, monkeypatch):
    """With none but the end, another code in a later book of a frame changes the backbone's input alone."""
    monkeypatch.setattr(backend, "learning", CsmLearning(depth_share=0.0))
    codes = backend.encode([waves()[1]])[0]
    batch = backend.collate([backend.example(prompt(backend), codes, True)])
    losses = []
    for _ in range(2):
        with torch.inference_mode():
            losses.append(backend.loss(network.train(), batch)[0].item())
        batch["labels"][0, -2, 1:] += 1
    assert losses[0] == losses[1]
    with torch.inference_mode():
        assert backend.loss(network.eval(), batch)[0].item() != pytest.approx(losses[0], rel=1e-3)


def test_what_has_no_position_is_refused(backend, network):
    """CSM-1B has 2,048: for the prompt, and for the frames that follow it."""
    one = dataclasses.replace(prompt(backend), text="bom dia " * 5)
    long = dataclasses.replace(one, text="bom dia " * 256)
    told = r"'bom dia .*' and its reference take 2\d+ positions, and the network has 2048; cut the text"
    with pytest.raises(InputError, match=told):
        backend.generate(network, [long], CsmGeneration(), [0])
    nearly = dataclasses.replace(one, text="bom dia " * 240)
    left = backend.limit_frames(nearly, CsmGeneration())
    assert left == 2048 - len(backend.prompt(nearly)) < 200
    with pytest.raises(InputError, match=r"2\d+ positions, and the network has 2048"):
        backend.example(one, np.ones((2020, tiny_csm.CODEBOOKS), np.int16), True)


def test_the_frames_and_their_end_are_learnt_and_nothing_else(backend):
    _, said = waves()
    codes = backend.encode([said])[0]
    masked, whole = (backend.example(prompt(backend), codes, mask_prompt=flag) for flag in (True, False))
    shorter = backend.example(prompt(backend), codes[:3], True)
    batch = backend.collate([masked, shorter])
    labels = batch["labels"][0].numpy()
    assert labels[-8:-1].tolist() == codes.tolist()
    assert labels[-1].tolist() == [0] * tiny_csm.CODEBOOKS  # the frame that ends the speech
    assert (labels[:-8] == IGNORED).all()
    assert (batch["labels"][1, len(shorter) :] == IGNORED).all()
    assert whole.learnt.sum() == 15 + 8
    assert not whole.learnt[~whole.row.audio].any()


def test_as_many_frames_as_codebooks_are_not_taken_for_packed_sequences(backend, network):
    """Where as many frames are learnt as there are codebooks, upstream's forward without a cache raises."""
    item = backend.example(prompt(backend), np.ones((tiny_csm.CODEBOOKS - 1, tiny_csm.CODEBOOKS)), True)
    batch = backend.collate([item])
    with torch.inference_mode():
        with pytest.raises(IndexError):
            network(inputs_embeds=csm.embedded(network, batch), labels=batch["labels"], use_cache=False)
        states, frames = csm.at_labels(network, batch)
        together = csm.depth_logits(network, states, frames)
        apart = [csm.depth_logits(network, s[None], f[None]) for s, f in zip(states, frames, strict=True)]
    assert len(frames) == tiny_csm.CODEBOOKS
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


def test_the_reference_is_heard(backend, network, subject):
    """Another reference, other logits; the reference's last turn is attended to."""
    one, codes = prompt(backend), subject.codes(4)
    other = dataclasses.replace(one.reference, codes=one.reference.codes[::-1].copy())
    both = [one, dataclasses.replace(one, reference=other)]
    first, second = (subject.logits(network, backend.example(p, codes, True)) for p in both)
    assert (first - second).abs().max() > 0.1


def test_a_bare_name_would_adapt_the_codec_and_the_models_files_do_not(backend, network):
    spec = yaml_file.read(Path(__file__).parent.parent / "workflow/models/csm-1b.yaml")
    names = [name for name, _ in network.named_modules()]
    assert any(name.startswith("codec_model.") and name.endswith(".q_proj") for name in names)
    adapted = lora.attach(backend, network, spec["lora_targets"], Lora(rank=2, alpha=4), 0)
    wearing = {name.split("base_model.model.")[1] for name in lora.trainable(adapted)}
    assert not any(name.startswith("codec_model.") for name in wearing)
    assert {name.split(".")[0] for name in wearing} == {"backbone_model", "depth_decoder"}


def test_an_expression_that_hits_nothing_is_named_with_what_paths_look_like(backend, network):
    with pytest.raises(ModelError, match=r"lora_targets is 'q_proj', .*paths look like \w+\..*\.\d+\."):
        lora.attach(backend, network, "q_proj", Lora(rank=2, alpha=4), 0)


def test_in_bfloat16_it_learns_and_speaks(backend, subject):
    network = backend.load_network(dtype=torch.bfloat16)
    total, count = backend.loss(subject.adapter(network), backend.collate(subject.examples()))
    exact, _ = backend.loss(backend.load_network(), backend.collate(subject.examples()))
    assert (total / count).item() == pytest.approx((exact / count).item(), rel=0.02)
    [spoken] = backend.generate(network, [prompt(backend)], CsmGeneration(max_s=0.3), [0])
    assert spoken.codes.shape == (3, tiny_csm.CODEBOOKS)


def test_a_frame_of_zeros_ends_the_speech(backend, network):
    greedy = CsmGeneration(temperature=0.0, max_s=0.5)
    torch.nn.init.zeros_(network.lm_head.weight)
    [going] = backend.generate(network, [prompt(backend)], greedy, [0])
    assert not going.stopped  # the first code of every frame is 0, the others are not
    assert (going.codes[:, 0] == 0).all()
    torch.nn.init.zeros_(network.depth_decoder.codebooks_head.weight)
    [ended] = backend.generate(network, [prompt(backend)], greedy, [0])
    assert ended.stopped
    assert ended.codes.shape == (0, tiny_csm.CODEBOOKS)


def test_only_the_codecs_codes_are_drawn_by_temperature_and_top_k():
    small = layout.Layout(100, 101, 102, 103, n_codebooks=2, codebook_size=4)
    logits = torch.log(torch.tensor([[1.0, 4.0, 2.0, 3.0, 90.0]])).repeat(6000, 1)
    dice = torch.linspace(0, 1, 6001, dtype=torch.float64)[:-1]
    all_of_them = generate._choose(logits, dice, small, CsmGeneration(temperature=1.0, top_k=0))
    assert torch.bincount(all_of_them).tolist() == pytest.approx([600, 2400, 1200, 1800], abs=2)
    two = generate._choose(logits, dice, small, CsmGeneration(temperature=1.0, top_k=2))
    assert torch.bincount(two, minlength=4).tolist() == pytest.approx([0, 3429, 0, 2571], abs=2)


FRESH = """
import sys, torch, numpy as np
from transformers import CsmForConditionalGeneration
from sotaque.backends.csm import Backend
from sotaque.backends.families import CsmGeneration
sys.path.insert(0, sys.argv[1])
import test_csm
from pathlib import Path
backend = Backend(Path(sys.argv[2]), torch.device("cpu"))
csm = CsmForConditionalGeneration.from_pretrained(sys.argv[3]).eval()
prompt = test_csm.prompt(backend)
[said] = backend.generate(csm, [prompt], CsmGeneration(max_s=0.5), [3])
np.save(sys.argv[4], said.codes)
"""


def test_a_fresh_process_loads_the_merged_folder_and_says_the_same(subject, backend, network, tmp_path):
    adapted = subject.shaken(network)
    merged = adapted.merge_and_unload()
    backend.save_merged(merged, tmp_path / "merged")
    [ours] = backend.generate(merged, [prompt(backend)], CsmGeneration(max_s=0.5), [3])
    subprocess.run(
        [sys.executable, "-c", FRESH, Path(__file__).parent, backend.base, tmp_path / "merged",
         tmp_path / "codes.npy"], check=True,
    )  # fmt: skip
    assert np.array_equal(np.load(tmp_path / "codes.npy"), ours.codes)
    stored, kept = (
        load_file(f / "model.safetensors") for f in (backend.base / "network", tmp_path / "merged")
    )
    changed = {name for name in stored if not torch.equal(stored[name], kept[name])}
    assert changed == {name for name in stored if re.fullmatch(tiny_csm.TARGETS + r"\.weight", name)}


def test_upstreams_generate_says_what_ours_says(backend):
    """Greedily, from the waves and through its own loop, up to the sound."""
    network = CsmForConditionalGeneration.from_pretrained(backend.base / "network").eval()
    greedy = CsmGeneration(temperature=0.0, max_s=0.4)
    [ours] = backend.generate(network, [prompt(backend)], greedy, [0])
    [theirs] = network.generate(
        **upstream(inputs_of_both=False), do_sample=False, depth_decoder_do_sample=False, output_audio=True,
        max_new_tokens=5, suppress_tokens=IMPOSSIBLE, depth_decoder_suppress_tokens=IMPOSSIBLE,
    )  # fmt: skip
    assert len(ours.codes) == 5
    assert np.allclose(backend.decode(ours.codes, 0), theirs.numpy(), atol=1e-6)


@pytest.fixture
def folder(backend, tmp_path):
    """A copy of the base that a test may spoil."""
    return shutil.copytree(backend.base, tmp_path / "base")


def spoil(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_audio(folder):
    path = folder / "network/tokenizer.json"
    path.write_text(path.read_text().replace("<|AUDIO|>", "<|SOUND|>"))


def authors_own(folder):
    """config.json of the first release, of which transformers knows nothing."""
    (folder / "network/config.json").write_text('{"backbone_flavor": "llama-1B", "audio_vocab_size": 2051}')


@pytest.mark.parametrize(("fault", "told"), [
    (lambda f: (f / "network/tokenizer.json").unlink(), "tokenizer.json: there is no such file"),
    (lambda f: (f / "network/tokenizer.json").write_text("{"), "tokenizer.json: not a tokenizer"),
    (without_audio, r"there is no token <\|AUDIO\|>; this is not CSM's tokenizer"),
    (lambda f: spoil(f / "network/config.json", audio_token_id=5), "128002 and 128003, but .* 5 and 128003"),
    (authors_own, "not a configuration of CSM: .*expected sesame/csm-1b in transformers' layout"),
    (lambda f: tiny.network(f / "network", tiny.SMALL), "model_type is 'llama', expected 'csm'"),
    (lambda f: shutil.copy(f / "network/config.json", f / "codec/config.json"), "'csm', expected 'mimi'"),
    (lambda f: spoil(f / "codec/config.json", num_quantizers=3), "3 codebooks of 2048, but .* speaks 4"),
    (lambda f: spoil(f / "codec/config.json", codebook_size=2051), "must be a power of 2, but is 2051"),
    (lambda f: (f / "codec/config.json").write_text("{"), "codec/config.json: not a configuration of Mimi"),
])  # fmt: skip
def test_a_folder_that_is_no_csm_is_told_why(folder, fault, told):
    fault(folder)
    with pytest.raises(ModelError, match=told):
        Backend(folder, CPU)


@pytest.mark.parametrize("part", ["network", "codec"])
def test_code_that_lies_beside_a_model_is_never_run(folder, monkeypatch, part):
    """Not even when whoever sits there says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (folder / part / "evil.py").write_text("raise SystemExit('run')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (folder / part / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{part}/config.json: not a configuration of"):
        Backend(folder, CPU)


def test_a_right_folder_is_loaded_without_a_word(backend, capfd):
    Backend(backend.base, CPU).load_network()
    assert capfd.readouterr() == ("", "")


def test_weights_of_another_network_are_named(folder):
    spoil(folder / "network/config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"missing keys .*backbone_model\.layers\.2"):
        Backend(folder, CPU).load_network()
    (folder / "network/model.safetensors").unlink()
    with pytest.raises(ModelError, match="not a CSM network"):
        Backend(folder, CPU).load_network()
    (folder / "codec/model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match="not a Mimi codec"):
        codec.Codec(folder / "codec", 4, CPU)


def test_a_prompt_that_cannot_be_spoken_is_told_why(backend, network):
    one = prompt(backend)
    with pytest.raises(InputError, match="'olá, mundo' has no reference"):
        backend.example(dataclasses.replace(one, reference=None), one.reference.codes, True)
    brief = dataclasses.replace(one.reference, codes=one.reference.codes[:5])
    with pytest.raises(InputError, match=r"heard.wav: as a reference it has 0.40 s, expected 1 s or more"):
        backend.generate(network, [dataclasses.replace(one, reference=brief)], CsmGeneration(), [0])
    with pytest.raises(InputError, match=r"spells the control token <\|AUDIO\|>"):
        backend.example(dataclasses.replace(one, text="a <|AUDIO|> b"), one.reference.codes, True)
    for wave in (np.zeros(0, np.float32), np.full(10, np.nan, np.float32)):
        with pytest.raises(InputError, match="expected finite samples"):
            backend.encode([wave])


def test_upstream_speaks_the_merged_folder_as_it_was_judged(backend, network, tmp_path):
    """By its defaults: sampling of backbone and depth decoder, an end at the frame of zeros, not at 10 s."""
    from transformers import CsmForConditionalGeneration

    backend.save_merged(network, tmp_path)
    folders.write_generation_config(tmp_path, backend.generation_config(CsmGeneration(0.7, 20)))
    theirs = CsmForConditionalGeneration.from_pretrained(tmp_path)
    for one in (theirs.generation_config, theirs.depth_decoder.generation_config):
        assert (one.do_sample, one.temperature, one.top_k) == (True, 0.7, 20)
    assert theirs.generation_config.eos_token_id == theirs.config.codebook_eos_token_id == 0
    assert theirs.generation_config.max_new_tokens == 750
    with torch.no_grad():  # the likeliest code of every codebook is 0
        theirs.lm_head.weight.zero_()
        theirs.depth_decoder.codebooks_head.weight.zero_()
    ids = torch.tensor([[5, 6, 7]])
    said = theirs.generate(input_ids=ids, do_sample=False, depth_decoder_do_sample=False)
    assert len(said[0]) <= 2
