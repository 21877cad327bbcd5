"""OpenAudio: its token layout, its training forward against upstream's own way of speaking, and its voice.

Upstream's forward_generate, which reads a whole sequence without a cache, is the other way of computing what
training computes; the traps named here each give a number that looks fine.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import tiny_openaudio
from sotaque import audio, backends
from sotaque.backends.openaudio import generate
from sotaque.backends.openaudio.layout import Layout
from sotaque.backends.openaudio.network import Network, llama
from sotaque.backends.protocol import IGNORED, Prompt, Reference
from sotaque.errors import InputError, ModelError
from sotaque.settings import Lora
from sotaque.training import lora

HAND = Layout(semantic_begin=100, semantic_size=6, residual_size=4, n_codebooks=3, end=90, pad=91)
SAID = [("olá, mundo", 22, True), ("um", 25, False), ("uma frase bem mais comprida", 30, True)]


@pytest.fixture(scope="module")
def subject(subjects):
    return subjects("openaudio")


@pytest.fixture
def base(backend):
    return backend.base


def codes(frames, seed=0):
    """As the codec could make them, (F, 10) int16."""
    rng = np.random.default_rng(seed)
    sizes = [tiny_openaudio.SEMANTIC] + [tiny_openaudio.RESIDUAL] * 9
    return np.stack([rng.integers(0, size, frames) for size in sizes], axis=1).astype(np.int16)


REFERENCE = Reference("assim falo eu", Path("reference.wav"), codes(24, 9))


def prompts():
    return [Prompt(text, "ana", "pt", REFERENCE if with_one else None) for text, _, with_one in SAID]


def examples(backend, mask_prompt=True):
    return [
        backend.example(prompt, codes(frames, frames), mask_prompt)
        for prompt, (_, frames, _) in zip(prompts(), SAID, strict=True)
    ]


def lasting(backend, frames, **values):
    return backend.generation(max_s=(frames + 0.5) / backend.frame_rate_hz, **values)


def adapter(backend, network, dropout=0.0):
    return lora.attach(backend, network, tiny_openaudio.TARGETS, Lora(rank=4, alpha=8, dropout=dropout), 0)


def shaken(adapted):
    """An adapter that has learnt something: no tensor of it is zero."""
    torch.manual_seed(1)
    for parameter in lora.trainable(adapted).values():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return adapted


def test_columns_by_hand():
    columns = HAND.columns(np.array([[5, 0, 3], [0, 2, 1]], np.int16))
    assert columns.tolist() == [[105, 100], [5, 0], [0, 2], [3, 1]]
    assert HAND.codes_of(columns).tolist() == [[5, 0, 3], [0, 2, 1]]


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ([[0, 4, 0]], "frame 0, codebook 1: the code is 4, expected 0 to 3"),
        ([[0, 0, 0], [6, 0, 0]], "frame 1, codebook 0: the code is 6, expected 0 to 5"),
        ([[0, -1, 0]], "the code is -1"),
        ([[0, 0]], r"shape \(1, 2\), expected \(frames, 3\)"),
    ],
)
def test_a_code_out_of_its_codebook_is_named(spoilt, words):
    with pytest.raises(ModelError, match=words):
        HAND.columns(np.array(spoilt))


def test_a_main_token_that_is_not_that_of_its_codes_is_named():
    with pytest.raises(ModelError, match="frame 0: the main token is 101, but code 5 has the token 105"):
        HAND.codes_of(np.array([[101], [5], [0], [0]]))


def test_ids_are_those_of_the_tokenizer_that_is_there(base, tmp_path):
    """One more control token before them, and every semantic id is one higher."""
    other = tiny_openaudio.copy(base, tmp_path / "other")
    path = other / "network/special_tokens.json"
    path.write_text(path.read_text().replace("{", '{"<|new|>": 0, ', 1))
    with pytest.raises(ModelError, match="do not belong together"):
        backends.load("openaudio", other, torch.device("cpu"))
    names = ["<|new|>", *tiny_openaudio.CONTROLS, *(f"<|semantic:{i}|>" for i in range(1100))]
    path.write_text(str({name: 256 + i for i, name in enumerate(names)}).replace("'", '"'))
    shifted = backends.load("openaudio", other, torch.device("cpu"))
    first = backends.load("openaudio", base, torch.device("cpu"))
    assert shifted.layout.semantic_begin == first.layout.semantic_begin + 1 == 265
    assert shifted.layout.columns(codes(2))[0].tolist() == (codes(2)[:, 0] + 265).tolist()


@pytest.mark.parametrize("number", [0, 1], ids=["with reference", "without"])
def test_a_training_item_is_upstreams_sequence(backend, number):
    """Against ContentSequence with its own labels; the prompt of inference is how it begins."""
    parts = backend.tokenizer._parts
    prompt, made = prompts()[number], codes(SAID[number][1])
    written = parts.ContentSequence(modality="interleave")
    if prompt.reference:
        said = [parts.TextPart(text=prompt.reference.text), parts.VQPart(codes=REFERENCE.codes.T.copy())]
        written.append(said, add_end=True, speaker=0)
    spoken = [parts.TextPart(text=prompt.text), parts.VQPart(codes=made.T.copy(), cal_loss=True)]
    written.append(spoken, add_end=True, speaker=0)
    theirs = written.encode(backend.tokenizer.fish, add_shift=False)
    item = backend.example(prompt, made, mask_prompt=True)
    assert item.columns[0].tolist() == theirs.tokens.tolist()
    assert item.labels.tolist() == theirs.labels.tolist()
    begun = backend._prompt(prompt)
    assert np.array_equal(item.columns[:, : begun.shape[1]], begun)
    assert (item.labels[: begun.shape[1]] == IGNORED).all()
    assert np.array_equal(backend.layout.codes_of(item.columns[:, begun.shape[1] : -1]), made)
    assert item.labels[-1] == item.columns[0, -1] == backend.layout.end


def test_what_is_spoken_from_is_that_prompt(backend, network, monkeypatch):
    seen = []
    monkeypatch.setattr(network, "forward_generate", spy(network.forward_generate, seen))
    backend.generate(network, prompts()[:1], lasting(backend, 2), [0])
    prompt = examples(backend)[0].columns[:, : seen[0].shape[2]]
    assert np.array_equal(seen[0][0].numpy(), prompt)
    assert seen[1].shape == (1, 11, 1)


def spy(function, seen):
    def watched(inp, *args, **kwargs):
        seen.append(inp)
        return function(inp, *args, **kwargs)

    return watched


def test_without_the_mask_all_is_learnt_but_padding(backend):
    for item in examples(backend, mask_prompt=False):
        assert item.labels.tolist() == item.columns[0].tolist()
    batch = backend.collate(examples(backend))
    for row, item in enumerate(examples(backend)):
        assert (batch["labels"][row, len(item) :] == IGNORED).all()
        assert int((batch["labels"][row] != IGNORED).sum()) == SAID[row][1] + 1


def spoken_logits(network, item):
    """What upstream's own speaking computes, teacher-forced: (L, V) of row 0 and (F, K, n) of the codes."""
    inp = torch.from_numpy(item.columns)[None].long()
    read = llama.BaseTransformer.forward_generate(network, inp, return_all=True)
    frames = [t for t, label in enumerate(item.labels[1:]) if label not in (IGNORED, network_end(network))]
    said = []
    with generate.caches(network, 8):
        for t in frames:
            hidden = network.fast_project_in(read.hidden_states[:, t])
            rows = [network.forward_generate_fast(hidden, torch.tensor([0]))]
            for book, code in enumerate(item.columns[1:-1, t + 1]):
                heard = network.fast_embeddings(torch.tensor([int(code)]))
                rows.append(network.forward_generate_fast(heard, torch.tensor([book + 1])))
            said.append(torch.cat(rows, dim=1)[0])
    return read.logits[0], torch.stack(said), [t + 1 for t in frames]


def network_end(network):
    return network.tokenizer.get_token_id("<|im_end|>")


@pytest.mark.parametrize("config", [{}, {"scale_codebook_embeddings": False}, {"tie_word_embeddings": False}])
@torch.no_grad()
def test_the_loss_is_that_of_upstreams_speaking(config, base, backend, tmp_path):
    """CE(main) + CE(codes), from logits that upstream computes when it speaks: every embedding as there."""
    tiny_openaudio.network(tmp_path / "network", **config)
    network = backend.load_network(tmp_path)
    item = examples(backend)[0]
    main, fast, frames = spoken_logits(network, item)
    labels = torch.from_numpy(item.labels)
    by_hand = F.cross_entropy(main[:-1], labels[1:], ignore_index=IGNORED, reduction="sum")
    wanted = torch.from_numpy(item.columns[1:, frames].T).long()
    by_hand += F.cross_entropy(fast.flatten(0, 1), wanted.flatten(), reduction="sum") / 10
    total, count = backend.loss(network, backend.collate([item]))
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert int(count) == SAID[0][1] + 1
    ours = backend.logits(network, backend.collate([item]))
    assert torch.allclose(ours, main[:-1][labels[1:] != IGNORED], atol=1e-4)


@torch.no_grad()
def test_upstreams_training_embedding_would_be_another(backend, network, monkeypatch):
    """The trap that the test above guards: scale_codebook_embeddings is nothing to the wheel's `embed`."""
    batch = backend.collate(examples(backend)[:1])
    ours = backend.logits(network, batch)
    monkeypatch.setattr(Network, "embed", llama.BaseTransformer.embed)
    assert (backend.logits(network, batch) - ours).abs().max() > 0.1


def test_upstreams_forward_raises(backend, network):
    batch = backend.collate(examples(backend)[:1])
    with pytest.raises(TypeError, match="vq_parts"):
        llama.DualARTransformer.forward(network, batch["columns"], labels=batch["labels"])


def test_checkpointing_changes_no_gradient(backend, network):
    """Off, though upstream's configuration has it on; asked for, it gives every gradient, and the same."""
    adapted = shaken(adapter(backend, network)).train()
    assert network.config.use_gradient_checkpointing
    gradients = []
    for wanted in (None, True, False):
        if wanted is not None:
            backend.checkpoint_gradients(adapted, wanted)
        assert network.checkpointing == bool(wanted)
        adapted.zero_grad()
        backend.loss(adapted, backend.collate(examples(backend)))[0].backward()
        gradients.append({name: p.grad.clone() for name, p in lora.trainable(adapted).items()})
    assert len(gradients[0]) == 2 * len(tiny_openaudio.TARGETS) * 4
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, name
        assert all(torch.allclose(gradient, other[name], atol=1e-4) for other in gradients[1:]), name


def test_upstreams_checkpointing_would_lose_the_slow_layers(backend, network, monkeypatch):
    """The trap that the test above guards: re-entrant, under frozen embeddings, they get no gradient."""

    def reentrant(self, layer, x, rotation, mask):
        return torch.utils.checkpoint.checkpoint(layer, x, rotation, mask, use_reentrant=True)

    monkeypatch.setattr(Network, "_through", reentrant)
    adapted = shaken(adapter(backend, network)).train()
    with pytest.warns(UserWarning, match="requires_grad=True"), pytest.raises(RuntimeError, match="grad"):
        backend.loss(adapted, backend.collate(examples(backend)))[0].backward()
    assert all(p.grad is None for name, p in lora.trainable(adapted).items() if ".layers" in name)


def test_a_packed_row_is_its_singles(backend):
    """No utterance hears another one, and none predicts how the next begins."""
    network = backend.load_network(dtype=torch.float64)
    for mask_prompt in (True, False):
        items = examples(backend, mask_prompt)
        with torch.inference_mode():
            apart = [backend.loss(network, backend.collate([item])) for item in items]
            alone = torch.cat([backend.logits(network, backend.collate([item])) for item in items])
            batch = backend.collate(items, packed=True)
            total, count = backend.loss(network, batch)
            assert len(batch["labels"]) == 1
            assert total.item() == pytest.approx(sum(one.item() for one, _ in apart), rel=1e-6)
            assert count == sum(n for _, n in apart)
            assert torch.allclose(backend.logits(network, batch), alone, atol=1e-4)


def test_greedy_speech_is_what_the_training_logits_rank_first(backend):
    """The main stream and, through the fast layers, every code of each frame."""
    network = shaken(adapter(backend, backend.load_network(dtype=torch.float64)))
    greedy = lasting(backend, 4, temperature=0.0, repetition_penalty=1.0)
    plain = network.get_base_model()
    for prompt, spoken in zip(
        prompts(), backend.generate(network, prompts(), greedy, [0, 0, 0]), strict=True
    ):
        assert len(spoken.codes) == 4 or (spoken.stopped and len(spoken.codes))
        item = backend.example(prompt, spoken.codes, mask_prompt=True)
        with torch.inference_mode():
            states = plain(**backend.collate([item]))
            main = backend.logits(network, backend.collate([item]))
            fast = plain.fast_output(states.fast)[:, :, : tiny_openaudio.RESIDUAL]
        begin, end = backend.layout.semantic_begin, backend.layout.semantic_end
        assert main[: len(spoken.codes), begin:end].argmax(1).tolist() == spoken.codes[:, 0].tolist()
        assert fast[:, 1:].argmax(2).tolist() == spoken.codes[:, 1:].tolist()


def test_speaking_leaves_no_cache_among_the_weights(backend, network):
    """A cache that stayed would be saved with the model, and training would read it."""
    keys, batch = set(network.state_dict()), backend.collate(examples(backend))
    before = backend.loss(network, batch)[0].item()
    backend.generate(network, prompts()[:1], lasting(backend, 2), [0])
    assert set(network.state_dict()) == keys
    assert backend.loss(network, batch)[0].item() == before


@torch.no_grad()
def test_the_end_stops_and_a_limit_does_not(backend, tmp_path):
    """An output layer that answers the prompt's own state with the end, and all else with 0."""
    tiny_openaudio.network(tmp_path / "network", tie_word_embeddings=False)
    network, greedy = backend.load_network(tmp_path), lasting(backend, 3, temperature=0.0)
    [long] = backend.generate(network, prompts()[1:2], greedy, [0])
    assert (len(long.codes), long.stopped) == (3, False)
    state = network(**backend.collate([backend.example(prompts()[1], codes(1), True)])).main[0]
    network.output.weight.zero_()
    network.output.weight[backend.layout.end] = network.norm(state)
    [ended] = backend.generate(network, prompts()[1:2], greedy, [0])
    assert (ended.codes.shape, ended.stopped) == ((0, 10), True)


def test_the_main_stream_says_frames_or_the_end_and_nothing_else(backend):
    """Logits that prefer a text token and a control token."""
    logits = torch.zeros(1364)
    logits[65], logits[backend.layout.pad], logits[backend.layout.semantic_begin + 7] = 9.0, 9.0, 1.0
    dice = generate._Dice(0, lasting(backend, 1, temperature=0.0), torch.device("cpu"))
    assert int(generate._main(backend.layout, logits, None, dice)) == 7
    logits[backend.layout.end] = 2.0
    assert int(generate._main(backend.layout, logits, None, dice)) == backend.layout.semantic_size


def test_the_penalty_is_of_what_was_spoken(backend):
    """By hand: 2 / 2 < 1.5, -1 * 2 < -1.5; an index that was not spoken keeps its place, 0 among them."""
    dice = generate._Dice(
        0, lasting(backend, 1, temperature=0.0, repetition_penalty=2.0), torch.device("cpu")
    )
    assert int(dice.choose(torch.tensor([1.5, 2.0, 0.0]), torch.tensor([1]), 3)) == 0
    assert int(dice.choose(torch.tensor([-1.5, -1.0]), torch.tensor([1, 1]), 2)) == 0
    assert int(dice.choose(torch.tensor([1.5, 2.0]), None, 2)) == 1


def test_top_p_leaves_out_the_unlikely(backend):
    """0.7, 0.2, 0.1: with top_p 0.8 only the first can be drawn, for upstream cuts where the sum is over."""
    dice = generate._Dice(0, lasting(backend, 1, temperature=1.0, top_p=0.8), torch.device("cpu"))
    likely = torch.tensor([0.2, 0.7, 0.1]).log()
    assert {int(dice.choose(likely, None, 3)) for _ in range(50)} == {1}
    open_ = generate._Dice(0, lasting(backend, 1, temperature=1.0, top_p=1.0), torch.device("cpu"))
    counts = np.bincount([int(open_.choose(likely, None, 3)) for _ in range(2000)], minlength=3)
    assert counts / 2000 == pytest.approx([0.2, 0.7, 0.1], abs=0.04)


def test_equal_networks_are_equal_files(backend, network, tmp_path):
    """With the list of tokens, without which upstream takes another."""
    for name in ("one", "two"):
        backend.save_merged(network, tmp_path / name)
    saved = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert saved[0] == saved[1]
    assert {"special_tokens.json", "tokenizer.tiktoken", "config.json", "model.pth"} == saved[0].keys()


def test_a_base_in_bfloat16_stays_so(backend, network, tmp_path):
    folder = tmp_path / "half/network"
    backend.save_merged(network, folder)
    torch.save({k: v.bfloat16() for k, v in network.state_dict().items()}, folder / "model.pth")
    half = backends.load("openaudio", tiny_openaudio.with_network(backend.base, folder), torch.device("cpu"))
    half.save_merged(half.load_network(), tmp_path / "again")
    stored = torch.load(tmp_path / "again/model.pth", weights_only=True)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_a_reference_that_is_too_short_is_named(backend, tmp_path):
    path = tmp_path / "short.wav"
    audio.write(path, np.full(tiny_openaudio.RATE_HZ // 2, 0.1, np.float32), tiny_openaudio.RATE_HZ)
    with pytest.raises(InputError, match=r"short.wav: as a reference it has 0.51 s, expected 1 s or more"):
        backend.example(Prompt("um", "ana", "pt", Reference("dois", path)), codes(3), True)


def test_a_reference_without_codes_is_encoded(backend, tmp_path):
    path = tmp_path / "reference.wav"
    audio.write(path, tiny_openaudio.wave(1.2, 3), tiny_openaudio.RATE_HZ)
    samples, _ = audio.read(path)
    given = Reference("dois", path, backend.encode([samples])[0])
    items = [
        backend.example(Prompt("um", "ana", "pt", r), codes(3), True)
        for r in (given, Reference("dois", path))
    ]
    assert np.array_equal(items[0].columns, items[1].columns)


def test_a_prompt_that_upstream_would_refuse_is_refused(backend, network):
    """max_seq_len 2560 less 2048: upstream's generate_long raises for such a prompt."""
    long = Prompt("um " * 300, "ana", "pt")
    for speak in (
        lambda: backend.generate(network, [long], lasting(backend, 1), [0]),
        lambda: backend.example(long, codes(3), True),
    ):
        with pytest.raises(InputError, match="the prompt has 914 positions, expected at most 512"):
            speak()
    with pytest.raises(InputError, match="positions, and the network reads at most 2560"):
        backend.example(prompts()[1], codes(2600), True)


@pytest.mark.parametrize("token", ["<|im_end|>", "<|semantic:7|>"])
def test_a_text_that_spells_a_control_token_is_refused(backend, token):
    with pytest.raises(InputError, match=r"spells the control token"):
        backend.example(Prompt(f"um {token} dois", "ana"), codes(3), True)
