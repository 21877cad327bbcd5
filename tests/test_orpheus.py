"""SNAC, the tokenizer and generation of the Orpheus backend, on tiny models in the real layout."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from sotaque.backends.families import OrpheusGeneration as Generation
from sotaque.backends.orpheus import Backend, generate, layout
from sotaque.backends.protocol import Prompt
from sotaque.errors import InputError, ModelError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL)


@pytest.fixture(scope="module")
def backend(base):
    return Backend(base, CPU)


@pytest.fixture
def damaged(tmp_path):
    """A base of one's own to break."""
    return tiny.base(tmp_path, tiny.SMALL)


def test_rates_follow_from_the_codecs_configuration(backend):
    assert (backend.sample_rate_hz, backend.codec_rate_hz) == (24000, 24000)
    assert backend.frame_rate_hz == 24000 / 128


def test_codes_are_those_of_snac_itself(base, backend):
    """One clip, padded by SNAC, against ours."""
    from snac import SNAC

    theirs = SNAC.from_pretrained(str(base / "codec"))
    wave = tiny.wave(0.05, 3)
    with torch.inference_mode():
        books = theirs.encode(torch.from_numpy(wave)[None, None])
    expected = layout.pack([book[0].numpy() for book in books])
    assert np.array_equal(backend.encode([wave])[0], expected)


def test_a_batch_of_codes_is_its_singles(backend):
    waves = [tiny.wave(seconds, i) for i, seconds in enumerate((0.02, 0.05, 0.021, 0.05, 0.0501, 0.1))]
    for wave, together in zip(waves, backend.encode(waves), strict=True):
        assert np.array_equal(together, backend.encode([wave])[0])


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (127, 1), (128, 1), (129, 2), (1280, 10)])
def test_frames_cover_the_true_length(backend, samples, frames):
    assert backend.encode([tiny.wave(1.0, 0)[:samples]])[0].shape == (frames, 7)


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.full(200, np.nan, np.float32)])
def test_a_wave_that_is_none_is_refused(backend, wave):
    with pytest.raises(InputError, match="wave 0"):
        backend.encode([wave])


def test_decoding_is_seeded_and_leaves_the_random_state_alone(backend):
    codes = backend.encode([tiny.wave(0.05, 1)])[0]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = backend.decode(codes, seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert first.shape == (len(codes) * 128,)
    assert np.array_equal(first, backend.decode(codes, seed=1))
    assert not np.array_equal(first, backend.decode(codes, seed=2))
    assert backend.decode(codes[:0], seed=1).shape == (0,)


@pytest.mark.parametrize("frames", [1, 3])
def test_less_than_four_frames_are_heard_from_first_to_last(base, backend, frames):
    """Public decoders wait for 28 ids, and give neither the first frame nor the last two."""
    from snac import SNAC

    codes = backend.encode([tiny.wave(0.05, 1)])[0][:frames]
    theirs = SNAC.from_pretrained(str(base / "codec"))
    torch.manual_seed(2)
    with torch.inference_mode():
        whole = theirs.decode([torch.from_numpy(b)[None] for b in layout.unpack(codes.astype(np.int64))])
    heard = backend.decode(codes, seed=2).reshape(frames, -1)
    assert np.allclose(heard.flatten(), whole.flatten(), atol=1e-5)
    assert (np.abs(heard).max(axis=1) > 0).all()


def test_the_codec_loads_from_safetensors_too(damaged):
    codes = Backend(damaged, CPU).encode([tiny.wave(0.05, 1)])[0]
    weights = damaged / "codec/pytorch_model.bin"
    state = torch.load(weights, weights_only=True)
    save_file({key: value.contiguous() for key, value in state.items()}, damaged / "codec/model.safetensors")
    weights.unlink()
    assert np.array_equal(Backend(damaged, CPU).encode([tiny.wave(0.05, 1)])[0], codes)


def test_text_is_tokenized_without_control_tokens(backend):
    ids = backend.tokenizer.text_ids("ana: olá")
    assert len(ids) == len("ana: olá".encode())
    assert all(map(backend.layout.is_text, ids))


@pytest.mark.parametrize("text", ["a <custom_token_2> b", "<|eot_id|>", "x<|begin_of_text|>"])
def test_a_text_cannot_smuggle_in_a_control_token(backend, text):
    with pytest.raises(InputError, match="control token"):
        backend.example(Prompt(text, "ana"), np.zeros((1, 7), np.int16), mask_prompt=True)


def test_generation_keeps_to_the_grammar(backend):
    """Random weights, no temperature to help: every code still lies in its slot's range."""
    network = backend.load_network()
    prompts = [Prompt(f"frase {i}", "ana") for i in range(6)]
    spoken = backend.generate(network, prompts, Generation(temperature=5.0, top_p=1.0, max_s=0.1), range(6))
    for one in spoken:
        assert one.codes.dtype == np.int16
        assert one.codes.shape[1] == 7
        assert one.codes.min(initial=0) >= 0
        assert one.codes.max(initial=0) < 32
        assert one.stopped == (len(one.codes) < int(0.1 * backend.frame_rate_hz))


def test_those_that_stop_early_leave_the_others_alone(backend):
    """Items of one batch end at different frames; each is what it would be alone."""
    network = backend.load_network(dtype=torch.float64)
    prompts = [Prompt("frase " * (i + 1), "ana") for i in range(6)]
    hot = Generation(temperature=5.0, top_p=1.0, repetition_penalty=1.1, max_s=0.15)
    together = backend.generate(network, prompts, hot, range(6))
    assert len({len(one.codes) for one in together if one.stopped}) > 1
    for i, one in enumerate(together):
        [alone] = backend.generate(network, prompts[i : i + 1], hot, [i])
        assert np.array_equal(alone.codes, one.codes)
        assert alone.stopped == one.stopped


def test_generation_stops_where_the_model_says_so(backend):
    """The end's row of the output layer is made the winner: no frame is spoken, and it says it stopped."""
    network = backend.load_network()
    network.lm_head = torch.nn.Linear(16, tiny.SMALL.vocabulary, bias=False)
    with torch.no_grad():
        network.lm_head.weight.zero_()
        greedy = Generation(temperature=0.0, repetition_penalty=1.0, max_s=0.05)
        [endless] = backend.generate(network, [Prompt("a", "b")], greedy, [0])
        hidden = network.model(torch.tensor([backend.layout.prompt(backend._text_ids(Prompt("a", "b")))]))
        network.lm_head.weight[backend.layout.speech_end] = hidden.last_hidden_state[0, -1]
    [spoken] = backend.generate(network, [Prompt("a", "b")], greedy, [0])
    assert (endless.codes.shape, endless.stopped) == ((int(0.05 * backend.frame_rate_hz), 7), False)
    assert (spoken.codes.shape, spoken.stopped) == ((0, 7), True)


def test_an_adapted_output_layer_gives_the_same_slots(backend):
    """The slow way (all logits, then the slot) against the fast one (the slot's rows only)."""

    class Adapted(torch.nn.Linear):
        pass

    network = backend.load_network()
    hidden = torch.randn(3, 16)
    for slot in range(7):
        fast = generate.slot_logits(network, backend.layout, hidden, slot)
        slow_head = Adapted(16, tiny.SMALL.vocabulary, bias=False)
        slow_head.weight = network.lm_head.weight
        whole, network.lm_head = network.lm_head, slow_head
        slow = generate.slot_logits(network, backend.layout, hidden, slot)
        network.lm_head = whole
        assert fast.shape == (3, 32 + (slot == 0))
        assert torch.allclose(fast, slow, atol=1e-6)


@torch.inference_mode()
def test_a_fresh_adapter_of_the_output_layer_changes_no_bit(backend):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["lm_head"])
    fresh = get_peft_model(backend.load_network(), config).eval().get_base_model()
    plain, hidden = backend.load_network(), torch.randn(3, 16)
    for slot in range(7):
        expected = generate.slot_logits(plain, backend.layout, hidden, slot)
        assert torch.equal(generate.slot_logits(fresh, backend.layout, hidden, slot), expected)


@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_a_network_that_says_no_number_is_an_error(damaged, temperature):
    backend = Backend(damaged, CPU)
    network = backend.load_network()
    network.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    generation = backend.generation(max_s=0.1, temperature=temperature)
    with pytest.raises(ModelError, match="no number"):
        backend.generate(network, [Prompt("olá", "ana")], generation, [0])


def test_sampling_follows_the_probabilities():
    """Uniform dice over a known distribution: each choice takes its share."""
    share = torch.tensor([0.5, 0.3, 0.2])
    dice = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    logits = share.log().repeat(1000, 1)
    chosen = generate._choose(logits, dice, Generation(temperature=1.0, top_p=1.0))
    assert torch.bincount(chosen).tolist() == [500, 300, 200]


def test_top_p_and_temperature_are_those_of_transformers():
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    torch.manual_seed(0)
    logits = torch.randn(1, 50)
    warped = TopPLogitsWarper(0.8)(None, TemperatureLogitsWarper(0.7)(None, logits))
    share = warped.double().softmax(1)[0]
    dice = (torch.arange(5000, dtype=torch.float64) + 0.5) / 5000
    chosen = generate._choose(logits.repeat(5000, 1), dice, Generation(temperature=0.7, top_p=0.8))
    assert torch.allclose(torch.bincount(chosen, minlength=50) / 5000, share.float(), atol=1e-3)


def test_the_repetition_penalty_is_that_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    torch.manual_seed(0)
    logits = torch.randn(20, 8)
    seen = torch.rand(20, 8) < 0.4
    seen[:, 0] = True
    expected = [
        RepetitionPenaltyLogitsProcessor(1.7)(seen[i].nonzero().T, logits[i, None].clone()) for i in range(20)
    ]
    assert torch.equal(generate._penalized(logits, seen, 1.7), torch.cat(expected))


def test_the_real_vocabulary_is_resolved_by_name(tmp_path):
    real = Backend(tiny.base(tmp_path, tiny.REAL), CPU).layout
    assert (real.text_start, real.text_end, real.speech_end, real.first_audio) == (
        128000,
        128009,
        128258,
        128266,
    )


def test_long_batches_have_the_loss_and_gradient_of_short_ones(backend, monkeypatch):
    """Chunked cross-entropy against the whole, value and gradient."""
    from sotaque.backends import cross_entropy

    items = [backend.example(Prompt("olá", "ana"), backend.encode([tiny.wave(0.05, 1)])[0], True)]
    results = []
    for limit in (2**27, 5 * tiny.SMALL.vocabulary):
        monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", limit)
        network = backend.load_network().requires_grad_(True)
        total, count = backend.loss(network, backend.collate(items))
        total.backward()
        results.append((total.item(), count.item(), network.model.embed_tokens.weight.grad))
    assert results[0][1] > 50
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert torch.allclose(results[0][2], results[1][2], atol=1e-5)


def test_a_truncated_network_is_named(damaged):
    path = damaged / "network/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="network: not a Llama network in the Hugging Face layout"):
        Backend(damaged, CPU).load_network()


def test_saving_keeps_the_bases_files_and_dtypes(damaged, tmp_path):
    path = damaged / "network/model.safetensors"
    half = {key: value.bfloat16() for key, value in load_file(path).items()}
    save_file(half, path, metadata={"format": "pt"})
    backend = Backend(damaged, CPU)
    backend.save_merged(backend.load_network(), tmp_path / "merged")
    again = load_file(tmp_path / "merged/model.safetensors")
    assert {key: (value.dtype, value.shape) for key, value in again.items()} == {
        key: (value.dtype, value.shape) for key, value in half.items()
    }
    assert all(torch.equal(again[key], half[key]) for key in half)
    names = sorted(p.name for p in (damaged / "network").iterdir())
    assert sorted(p.name for p in (tmp_path / "merged").iterdir()) == names


def break_strides(base):
    path = base / "codec/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vq_strides": [8, 4, 2, 1]}))


def break_tokenizer(base):
    path = base / "network/tokenizer.json"
    path.write_text(path.read_text().replace("<custom_token_0>", "<custom_token_zero>"))


def break_tensor(base):
    path = base / "network/model.safetensors"
    save_file(
        {k: v for k, v in load_file(path).items() if "layers.1.mlp.up" not in k}, path, {"format": "pt"}
    )


def break_vocabulary(base):
    path = base / "codec/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codebook_size": 64}))


@pytest.mark.parametrize(("fault", "message"), [
    (break_strides, r"config.json: vq_strides is \[8, 4, 2, 1\]"),
    (break_tokenizer, "tokenizer.json: there is no token <custom_token_0>"),
    (break_tensor, "missing keys .*layers.1.mlp.up_proj"),
    (break_vocabulary, "the vocabulary has 492 ids"),
    (lambda base: (base / "network/model.safetensors").unlink(), "network"),
    (lambda base: (base / "network/tokenizer.json").unlink(), "tokenizer.json: there is no such file"),
    (lambda base: (base / "network/tokenizer.json").write_text("{"), "not a tokenizer"),
    (lambda base: (base / "codec/pytorch_model.bin").unlink(), "codec: none of model.safetensors"),
    (lambda base: (base / "codec/pytorch_model.bin").write_bytes(b"no"), "bin: not the weights"),
    (lambda base: (base / "codec/config.json").write_text("[]"), "not a SNAC configuration"),
])  # fmt: skip
def test_a_damaged_base_is_named(damaged, fault, message):
    fault(damaged)
    with pytest.raises(ModelError, match=message):
        load_all(damaged)


def load_all(base):
    backend = Backend(base, CPU)
    return backend.load_network(), backend.codec
