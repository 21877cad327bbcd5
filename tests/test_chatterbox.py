"""Chatterbox: its layout by hand, and each trap of upstream beside what is done instead.

The tiny checkpoint is upstream's own classes under its own file names; where a test says what upstream does,
it runs upstream's code.
"""

import contextlib
import os
import re
import subprocess
import sys
import unicodedata

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_chatterbox as tiny
from conftest import ROOT
from sotaque import audio, backends, files
from sotaque.backends import upstream
from sotaque.backends.chatterbox import generate, layout, network
from sotaque.backends.chatterbox.tokenizer import Tokenizer
from sotaque.backends.families import ChatterboxGeneration, ChatterboxLearning
from sotaque.backends.protocol import IGNORED, Prompt, Reference
from sotaque.errors import InputError, ModelError
from sotaque.settings import Lora
from sotaque.training import lora

TEXTS = {
    "pt": "Olá, não há pão: amanhã!",
    "es": "¿Qué tal, señor Nuñez?",
    "ar": "كيفَ حالك اليوم",
    "en": "Well; yes",
}


@pytest.fixture(scope="module")
def backend(subjects):
    return subjects("chatterbox").backend


@pytest.fixture(scope="module")
def base(backend):
    return backend.base


@pytest.fixture(scope="module")
def plain(backend):
    """T3 as it is in the checkpoint; whoever changes it loads another one."""
    return backend.load_network()


@pytest.fixture(scope="module")
def theirs(base):
    """The same checkpoint, loaded by upstream, whose tokenizer asks the hub for a table when it can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        return upstream.load("chatterbox.mtl_tts").ChatterboxMultilingualTTS.from_local(
            base / "network", "cpu"
        )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    short, long = tiny.reference(folder, 2.4, 0), tiny.reference(folder, 7.2, 1)
    return [Prompt(TEXTS["pt"], "ana", "pt", short), Prompt("Um", "zé", "pt-br", long)]


def example(backend, prompt, frames, seed=0):
    codes = np.random.default_rng(seed).integers(0, layout.CODES, (frames, 1))
    return backend.example(prompt, codes, mask_prompt=True)


def lasting(frames, **values):
    return ChatterboxGeneration(max_s=(frames + 0.5) / layout.FRAME_RATE_HZ, **values)


# layout


def test_the_rows_by_hand():
    assert layout.text_row([7, 8]) == [255, 7, 8, 0]
    assert layout.speech_row([5, 6]) == ([6561, 6561, 5, 6], [5, 6, 6562])
    assert layout.speech_positions(4) == [0, 0, 1, 2]


def test_what_is_no_code_is_dropped_before_it_can_be_decoded():
    codes, stopped = layout.spoken([4, 6561, 7000, 6560, 8193, 6562, 9])
    assert codes.tolist() == [[4], [6560]]
    assert codes.dtype == np.int16
    assert stopped
    assert layout.spoken([4, 5])[1] is False
    assert layout.spoken([6562])[0].shape == (0, 1)


def test_upstream_drops_nothing_over_the_stop():
    """Why the above is needed: an id that S3Gen has no embedding for passes upstream's own filter."""
    module = upstream.load("chatterbox.models.s3tokenizer")
    assert module.drop_invalid_tokens(torch.tensor([4, 7000, 6562])).tolist() == [4, 7000]


@pytest.mark.parametrize(("codes", "words"), [
    ([[3], [6561]], "frame 1: the code is 6561, expected 0 to 6560"),
    ([[-1]], "frame 0: the code is -1"),
    ([[1, 2]], r"shape \(1, 2\), expected \(frames, 1\)"),
])  # fmt: skip
def test_codes_that_cannot_be_spoken_are_named(codes, words):
    with pytest.raises(ModelError, match=words):
        layout.codes_row(np.array(codes))


def test_what_has_no_position_is_refused():
    with pytest.raises(InputError, match="2049 tokens, expected 1 to 2048"):
        layout.text_row([3] * 2049)
    with pytest.raises(InputError, match="4097 codes, and T3 has positions for 4096"):
        layout.codes_row(np.zeros((4097, 1)))


def test_the_numbers_are_those_of_the_package(plain):
    hp = plain.hp
    assert hp.start_text_token == layout.TEXT_START
    assert hp.stop_text_token == layout.TEXT_STOP
    assert hp.start_speech_token == layout.SPEECH_START
    assert hp.stop_speech_token == layout.SPEECH_STOP
    assert hp.text_tokens_dict_size == layout.TEXT_VOCABULARY
    assert hp.speech_tokens_dict_size == layout.SPEECH_VOCABULARY
    assert hp.max_text_tokens == layout.MAX_TEXT
    assert hp.max_speech_tokens == layout.MAX_CODES
    assert hp.speech_cond_prompt_len == layout.PROMPT_CODES


# text


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_text_is_read_as_upstream_reads_it(base, theirs, language):
    plain = upstream.load("chatterbox.mtl_tts").punc_norm(TEXTS[language])
    expected = theirs.tokenizer.encode(plain, language_id=language)
    ours = Tokenizer(base / "network")
    assert ours.text_ids(TEXTS[language], language) == expected
    assert ours.tokens.id_to_token(expected[0]) == f"[{language}]"


def test_letters_are_small_and_decomposed(base):
    tokens = Tokenizer(base / "network").tokens
    ids = Tokenizer(base / "network").text_ids("ÁÇÃO", "pt")
    said = "".join(tokens.id_to_token(i) for i in ids)
    assert said == "[pt]" + unicodedata.normalize("NFKD", "ação".replace("a", "á", 1)) + "."


def test_a_region_is_read_as_its_language(base):
    tokenizer = Tokenizer(base / "network")
    assert (
        tokenizer.text_ids("oi", "pt-br") == tokenizer.text_ids("oi", "pt") != tokenizer.text_ids("oi", "es")
    )
    assert tokenizer.text_ids("oi", "es-MX") == tokenizer.text_ids("oi", "es")
    assert tokenizer.text_ids("oi", "pt")[1:] == tokenizer.text_ids("oi", "")


@pytest.mark.parametrize(("text", "language", "words"), [
    ("oi", "xx", "the language is 'xx', spoken here: ar, de, en, es, fr, pt"),
    ("oi", "zh", "the language is 'zh', spoken here"),
    ("diga [es] hola", "pt", r"spells the control token \[es\]; remove it"),
    ("  ", "pt", "the text is empty"),
])  # fmt: skip
def test_a_text_that_cannot_be_said_is_named(base, text, language, words):
    with pytest.raises(InputError, match=words):
        Tokenizer(base / "network").text_ids(text, language)


# what T3 is given


def test_training_reads_what_generation_reads(backend, plain, prompts, monkeypatch):
    """Both rows of upstream's first step, bit by bit: the second start is there, the guidance has no text."""
    seen = []
    forward = type(plain.tfmr).forward

    def watched(self, *args, **kwargs):
        seen.append(kwargs["inputs_embeds"])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(plain.tfmr), "forward", watched)
    backend.generate(plain, prompts[:1], lasting(1), [0])
    batch = backend.collate([example(backend, prompts[0], 1)])
    with torch.inference_mode():
        for row, without_text in enumerate((False, True)):
            ours = network.embedded(plain, batch, 0, without_text)
            assert torch.equal(ours[:-1], seen[0][row])
    assert len(seen[0][0]) == layout.CONDITIONING + len(batch["text"][0]) + layout.STARTS


def test_the_loss_is_of_the_next_code(backend, plain, prompts):
    """Another code changes what is predicted behind it, and nothing before it or of itself."""
    item = example(backend, prompts[0], 6)
    other = list(item.codes)
    other[3] = (other[3] + 1) % layout.CODES
    changed = type(item)(item.text, tuple(other), item.reference)
    with torch.inference_mode():
        rows = [backend.logits(plain, backend.collate([one])) for one in (item, changed)]
        total, count = backend.loss(plain, backend.collate([item]))
    assert rows[0].shape == (7, layout.SPEECH_VOCABULARY)
    assert torch.allclose(rows[0][:4], rows[1][:4], atol=1e-5)
    assert all(not torch.allclose(rows[0][i], rows[1][i], atol=1e-3) for i in range(4, 7))
    expected = torch.tensor([*item.codes, layout.SPEECH_STOP])
    assert total.item() == pytest.approx(
        torch.nn.functional.cross_entropy(rows[0], expected, reduction="sum").item(), rel=1e-5
    )
    assert count == 7


def test_upstreams_own_loss_cannot_be_used(plain, prompts, backend):
    heard = backend.voices.of(prompts[0].reference)
    length = torch.tensor([3])
    with pytest.raises(RuntimeError):
        plain.loss(
            t3_cond=network.conditioning(plain, heard.speaker, heard.prompt, 0.5),
            text_tokens=torch.tensor([[255, 5, 0]]), text_token_lens=length,
            speech_tokens=torch.tensor([[6561, 5, 6562]]), speech_token_lens=length,
        )  # fmt: skip


def test_speech_does_not_hear_the_padding_of_its_text(backend, prompts):
    """Texts, clips and references of unequal length share a batch; upstream's forward leaks there."""
    exact = backend.load_network(dtype=torch.float64)
    items = [example(backend, prompts[0], 9), example(backend, prompts[1], 4)]
    with torch.inference_mode():
        together = backend.logits(exact, backend.collate(items))
        apart = [backend.logits(exact, backend.collate([item])) for item in items]
        assert torch.allclose(together, torch.cat(apart), atol=1e-4)
        naive = [_upstream_logits(exact, backend, items[1], width) for width in (4, 9)]
    assert not torch.allclose(naive[0], naive[1], atol=1e-2)


def _upstream_logits(t3, backend, item, width):
    """T3.forward over a text that is padded to a width, as a batch of its would be."""
    heard = backend.voices.of(item.reference)
    text = list(item.text) + [0] * (width - len(item.text))
    speech = torch.tensor([[layout.SPEECH_START, *item.codes]])
    return t3(
        t3_cond=network.conditioning(t3, heard.speaker, heard.prompt, 0.5),
        text_tokens=torch.tensor([text]), text_token_lens=torch.tensor([len(item.text)]),
        speech_tokens=speech, speech_token_lens=torch.tensor([speech.shape[1]]),
    ).speech_logits  # fmt: skip


def test_each_step_has_a_graph_of_its_own(backend, prompts):
    """A T3Cond used twice would hold the first step's graph, which is gone."""
    adapted = lora.attach(
        backend, backend.load_network(), tiny.TARGETS, Lora(rank=2, alpha=4, dropout=0.0), 0
    )
    batch = backend.collate([example(backend, prompts[0], 3)])
    for _ in range(2):
        backend.loss(adapted.train(), batch)[0].backward()
    plain = network.t3_of(adapted)
    plain.speech_emb.weight.requires_grad_(True)
    heard = backend.voices.of(prompts[0].reference)
    kept = network.conditioning(plain, heard.speaker, heard.prompt, 0.5)
    plain.prepare_conditioning(kept).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        plain.prepare_conditioning(kept).sum().backward()


def test_a_share_of_the_texts_is_dropped_in_training_alone(backend, prompts, monkeypatch):
    t3 = backend.load_network()
    torch.manual_seed(0)
    usual = backend.learning.text_drop
    assert network.without_text(t3, 1000, usual) == [False] * 1000
    t3.training = True
    assert 0.1 <= np.mean(network.without_text(t3, 1000, usual)) <= 0.2
    monkeypatch.setattr(backend, "learning", ChatterboxLearning(text_drop=1.0))
    batch = backend.collate([example(backend, prompts[1], 2)])
    with torch.inference_mode():
        inputs = network.embedded(t3, batch, 0, drop_text=True)
        expected = t3.speech_head(t3.tfmr(inputs_embeds=inputs[None]).last_hidden_state[0, -3:])
        assert torch.allclose(backend.logits(t3, batch), expected, atol=1e-4)
        t3.training = False
        assert not torch.allclose(backend.logits(t3, batch), expected, atol=1e-2)


def test_positions_stay_exact_in_half_precision(backend, prompts):
    halved = backend.load_network(dtype=torch.bfloat16)
    assert {p.dtype for p in halved.parameters()} == {torch.bfloat16}
    assert torch.equal(halved.tfmr.rotary_emb.inv_freq, backend.load_network().tfmr.rotary_emb.inv_freq)
    assert halved.tfmr.rotary_emb.inv_freq.dtype == torch.float32
    [spoken] = backend.generate(halved, prompts[:1], lasting(3), [0])
    assert len(spoken.codes) == 3


# speaking


def test_speaking_leaves_nothing_behind(backend, prompts):
    """Against upstream's inference, whose every call adds hooks and a second model, and slows all layers."""
    t3 = backend.load_network()
    keys, config = set(t3.state_dict()), {name: getattr(t3.cfg, name) for name in generate.KEPT}
    for _ in range(2):
        backend.generate(t3, prompts[:1], lasting(2), [0])
    assert _hooks(t3) == 0
    assert set(t3.state_dict()) == keys
    assert {name: getattr(t3.cfg, name) for name in generate.KEPT} == config
    heard = backend.voices.of(prompts[0].reference)
    row = layout.text_row([5, 6])
    t3.inference(
        t3_cond=network.conditioning(t3, heard.speaker, heard.prompt, 0.5),
        text_tokens=torch.tensor([row, row]), max_new_tokens=1,
    )  # fmt: skip
    assert _hooks(t3) == 3
    assert set(t3.state_dict()) > keys
    assert {name: getattr(t3.cfg, name) for name in generate.KEPT} != config


def _hooks(t3):
    return sum(len(layer.self_attn._forward_hooks) for layer in t3.tfmr.layers)


def test_guidance_and_exaggeration_are_heard(backend, plain, prompts):
    said = {
        name: backend.generate(plain, prompts[:1], lasting(12, **values), [0])[0].codes.tolist()
        for name, values in {
            "plain": {}, "unguided": {"cfg": 0.0}, "exaggerated": {"exaggeration": 1.0}, "again": {},
        }.items()
    }  # fmt: skip
    assert said["plain"] == said["again"]
    assert said["plain"] != said["unguided"]
    assert said["plain"] != said["exaggerated"]


def test_codes_are_of_the_clip_alone_and_cover_it(backend):
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.normal(size=n).astype(np.float32) for n in (640, 641, 16_000, 1)]
    together = backend.encode(waves)
    assert [len(codes) for codes in together] == [1, 2, 25, 1]
    for wave, codes in zip(waves, together, strict=True):
        assert np.array_equal(backend.encode([wave])[0], codes)
        assert codes.dtype == np.int16
    with pytest.raises(InputError, match=r"wave 0 has shape \(0,\)"):
        backend.encode([np.zeros(0, np.float32)])


def test_a_wave_is_whole_watermarked_and_of_its_seed(backend, tmp_path):
    """A reference of an odd number of half codes: upstream then loses the first 20 ms of what is spoken."""
    odd = tiny.reference(tmp_path, 2.5)
    codes = np.arange(50, dtype=np.int16).reshape(-1, 1) * 100
    wave = backend.decode(codes, 3, odd)
    assert wave.shape == (50 * 960,)
    assert np.array_equal(wave, backend.decode(codes, 3, odd))
    assert not np.array_equal(wave, backend.decode(codes, 4, odd))
    with torch.inference_mode():
        assert backend.codec.watermarker.get_watermark(wave, sample_rate=24_000).mean() > 0.9
    samples, _ = audio.read(odd.audio)
    theirs = backend.codec.s3gen.embed_ref(samples, 24_000)
    with torch.inference_mode():
        short, _ = backend.codec.s3gen.inference(torch.arange(50), ref_dict=theirs)
    assert short.shape[1] == 50 * 960 - 480
    assert backend.decode(codes[:0], 3, odd).shape == (0,)


def test_the_watermarker_is_there_without_pkg_resources(monkeypatch):
    """setuptools 82 has it no more; perth then hides its watermarker without a word."""
    upstream.load("perth")  # what is put back in the end
    for name in [n for n in sys.modules if n == "perth" or n.startswith("perth.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    import perth

    assert perth.PerthImplicitWatermarker is None
    for name in [n for n in sys.modules if n == "perth" or n.startswith("perth.")]:
        monkeypatch.delitem(sys.modules, name)
    assert upstream.load("perth").PerthImplicitWatermarker is not None


def test_the_locks_leave_out_what_breaks_it():
    """setuptools before 82, whose pkg_resources perth asks; no spacy-pkuseg, which asks the network."""
    text = "".join((ROOT / name).read_text() for name in ("requirements.lock", "backends.lock"))
    pinned = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", text))
    assert (77, 0, 3) <= tuple(map(int, pinned["setuptools"].split("."))) < (82,)
    assert "resemble-perth" in pinned
    assert not {name for name in pinned if "pkuseg" in name}


def test_a_package_that_is_missing_is_named_with_the_command_to_type():
    with pytest.raises(ModelError, match=r"no_such_package\.models cannot be .*; type: make backends"):
        upstream.load("no_such_package.models")


# the reference


@pytest.mark.parametrize(("seconds", "rate_hz"), [(2.4, 24_000), (12.0, 24_000), (8.0, 16_000)])
def test_a_voice_is_what_upstream_hears(backend, theirs, tmp_path, seconds, rate_hz):
    reference = tiny.reference(tmp_path, seconds, rate_hz=rate_hz)
    theirs.prepare_conditionals(str(reference.audio))
    ours = backend.voices.of(reference)
    assert torch.equal(ours.speaker[None], theirs.conds.t3.speaker_emb)
    assert torch.equal(ours.prompt[None], theirs.conds.t3.cond_prompt_speech_tokens)
    assert len(ours.prompt) == min(150, round(25 * seconds))
    heard = backend.voices.for_decoder(reference)
    assert set(heard) == set(theirs.conds.gen)
    for name in ("prompt_token", "prompt_feat", "embedding"):
        assert torch.equal(heard[name], theirs.conds.gen[name]), name


def test_a_clip_is_heard_once(backend, tmp_path):
    reference = tiny.reference(tmp_path, 3.0, 5)
    first = backend.voices.of(reference)
    reference.audio.unlink()
    assert backend.voices.of(Reference("", reference.audio)) is first


def test_a_voice_is_heard_exactly_in_a_training_of_half_precision(backend, base, tmp_path):
    reference = tiny.reference(tmp_path, 2.4, 6)
    exact = backend.voices.of(reference)
    again = backends.load("chatterbox", base, torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heard = again.voices.of(reference)
    assert torch.equal(heard.speaker, exact.speaker)
    assert torch.equal(heard.prompt, exact.prompt)


def test_a_clip_whose_duration_was_rounded_up_to_the_shortest_is_one(backend, tmp_path):
    """One sample less than 2 s stands as 2.0 s in a manifest."""
    reference = tiny.reference(tmp_path, 1.99998)
    samples, rate_hz = audio.read(reference.audio)
    assert len(samples) == 2 * rate_hz - 1
    assert backend.voices.of(reference).speaker.shape == (256,)


def test_a_reference_that_is_too_short_is_named(backend, tmp_path):
    short = tiny.reference(tmp_path, 1.5)
    with pytest.raises(InputError, match=r"\.wav: the reference has 1\.5 s, Chatterbox needs 2 s or more"):
        backend.voices.of(short)
    with pytest.raises(InputError, match=r"\.wav: the reference has 1\.5 s"):
        backend.decode(np.zeros((3, 1), np.int16), 0, short)
    gone = Reference("", tmp_path / "gone.wav")
    with pytest.raises(InputError, match=r"gone\.wav: the reference cannot be read"):
        backend.voices.of(gone)


def test_without_a_reference_nothing_is_learnt_or_spoken(backend, plain):
    bare = Prompt("oi", "ana", "pt")
    with pytest.raises(InputError, match="reference"):
        backend.example(bare, np.zeros((3, 1)), True)
    with pytest.raises(InputError, match="reference"):
        backend.generate(plain, [bare], lasting(1), [0])
    with pytest.raises(InputError, match="reference"):
        backend.decode(np.zeros((3, 1), np.int16), 0)


# other checkpoints


@contextlib.contextmanager
def other(base, tmp_path, **changes):
    """The network's folder with files taken out (None), renamed (a name) or written anew (tensors)."""
    folder = tmp_path / "network"
    for path in files.walk(base / "network"):
        files.copy(path, folder / path.name)
    for name, change in changes.items():
        path = next(folder.glob(f"{name}*"))
        if isinstance(change, str):
            path.rename(folder / change)
        else:
            path.unlink()
            if change is not None:
                save_file(change, path)
    yield folder


TURBO = {"tfmr.h.0.ln_1.weight": torch.zeros(4), "tfmr.wpe.weight": torch.zeros(4, 4)}
ENGLISH = {"text_emb.weight": torch.zeros(704, 8), "speech_emb.weight": torch.zeros(8194, 8)}


@pytest.mark.parametrize(("changes", "words"), [
    ({"t3": "t3_turbo_v1.safetensors"}, r"expected t3_mtl23ls_v2\.safetensors or .*; found: t3_turbo_v1"
                                        r"\.safetensors, Chatterbox Turbo"),
    ({"t3": "t3_cfg.safetensors"}, r"found: t3_cfg\.safetensors, the English Chatterbox"),
    ({"t3": None}, r"found: no t3_\*\.safetensors"),
    ({"t3": TURBO}, "a GPT-2, as in Chatterbox Turbo"),
    ({"t3": ENGLISH}, "text_emb.weight has 704 rows, expected 2454"),
], ids=["turbo", "english", "missing", "turbo-renamed", "english-renamed"])  # fmt: skip
def test_another_chatterbox_is_named(backend, base, tmp_path, changes, words):
    with other(base, tmp_path, **changes) as folder, pytest.raises(ModelError, match=words):
        backend.load_network(folder)


def test_a_damaged_checkpoint_is_named(backend, base, tmp_path):
    state = load_file(base / "network" / network.NAME)
    del state["tfmr.norm.weight"]
    with other(base, tmp_path, t3=state) as folder:
        with pytest.raises(ModelError, match=r"not the weights of the multilingual T3: .*tfmr\.norm\.weight"):
            backend.load_network(folder)
        (folder / network.NAME).write_bytes(b"not tensors")
        with pytest.raises(ModelError, match=r"v2\.safetensors: not a file of weights"):
            backend.load_network(folder)


def test_a_tokenizer_that_does_not_match_is_named(base, tmp_path):
    with other(base, tmp_path, grapheme=None) as folder:
        with pytest.raises(ModelError, match=r"grapheme_mtl_merged_expanded_v1\.json: there is no such file"):
            Tokenizer(folder)
        english = tiny.tokenizer(languages=())
        english.save(str(folder / "grapheme_mtl_merged_expanded_v1.json"))
        with pytest.raises(ModelError, match=r"no language tag such as \[es\]"):
            Tokenizer(folder)
        larger = tiny.tokenizer(size=2460)
        larger.save(str(folder / "grapheme_mtl_merged_expanded_v1.json"))
        with pytest.raises(ModelError, match="its ids go up to 2459, expected at most 2453"):
            Tokenizer(folder)
        shifted = tiny.tokenizer(start=254)
        shifted.save(str(folder / "grapheme_mtl_merged_expanded_v1.json"))
        with pytest.raises(ModelError, match=r"\[START\] and \[STOP\] are \[254, 0\], expected \[255, 0\]"):
            Tokenizer(folder)


def test_a_missing_or_foreign_s3gen_is_named(base, tmp_path):
    (tmp_path / "codec").mkdir()
    (tmp_path / "network").symlink_to(base / "network")
    lacking = backends.load("chatterbox", tmp_path, torch.device("cpu"))
    with pytest.raises(ModelError, match=r"codec/s3gen\.pt: there is no such file"):
        lacking.encode([np.zeros(640, np.float32)])
    torch.save({"tokenizer.something": torch.zeros(1)}, tmp_path / "codec" / "s3gen.pt")
    with pytest.raises(ModelError, match=r"s3gen\.pt: not the weights of Chatterbox's S3Tokenizer"):
        lacking.encode([np.zeros(640, np.float32)])


# what is saved


@pytest.fixture(scope="module")
def merged(backend, tmp_path_factory):
    """(T3 with an adapter merged into it, the folder it was saved in)."""
    adapted = lora.attach(
        backend, backend.load_network(), tiny.TARGETS, Lora(rank=4, alpha=8, dropout=0.0), 0
    )
    torch.manual_seed(1)
    for parameter in lora.trainable(adapted).values():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    whole = adapted.merge_and_unload()
    folder = tmp_path_factory.mktemp("merged") / "merged"
    backend.save_merged(whole, folder)
    return whole, folder


def test_the_merged_folder_is_the_base_but_for_t3(backend, base, merged):
    before, after = (
        {path.name: files.sha256(path) for path in files.walk(folder)}
        for folder in (base / "network", merged[1])
    )
    assert sorted(after) == sorted(before) == sorted(tiny.FILES)
    assert {name for name in after if after[name] != before[name]} == {network.NAME}
    assert backend.weight_keys(merged[1]) == backend.weight_keys()


def test_a_regional_base_is_saved_under_the_name_that_upstream_loads(backend, base, tmp_path):
    with other(base, tmp_path, t3="t3_pt_br.safetensors") as folder:
        t3 = network.load(folder, torch.float32, torch.device("cpu"))
        (folder / "t3_cfg.safetensors").write_bytes(b"the English one")
        network.save_like(folder, t3, tmp_path / "merged")
    assert sorted(path.name for path in files.walk(tmp_path / "merged")) == sorted(tiny.FILES)


FRESH = """
import json, sys
import numpy as np
import torch
sys.path.insert(0, {tests!r})
import tiny_chatterbox
tiny_chatterbox.shrink()
from chatterbox.mtl_tts import ChatterboxMultilingualTTS
tts = ChatterboxMultilingualTTS.from_local({folder!r}, "cpu")
inference, sound, said = tts.t3.inference, tts.s3gen.inference, []
def speak(**values):
    torch.manual_seed(5)
    said.append(inference(**values | {{"max_new_tokens": 12}}))
    return said[-1]
def decode(**values):
    torch.manual_seed(5)
    return sound(**values)
tts.t3.inference, tts.s3gen.inference = speak, decode
wave = tts.generate({text!r}, "pt", audio_prompt_path={reference!r})
np.savez({out!r}, ids=said[0][0].numpy(), wave=wave[0].numpy())
"""


def test_upstream_loads_the_merged_folder_and_says_the_same(backend, merged, prompts, tmp_path):
    """In a fresh process, by its own from_local and generate, with the seed set where ours is set."""
    out = tmp_path / "theirs.npz"
    code = FRESH.format(
        tests=str(ROOT / "tests"), folder=str(merged[1]), text=prompts[0].text, out=str(out),
        reference=str(prompts[0].reference.audio),
    )  # fmt: skip
    surroundings = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stderr
    with np.load(out) as heard:
        [spoken] = backend.generate(backend.load_network(merged[1]), prompts[:1], lasting(12), [5])
        assert np.array_equal(spoken.codes[:, 0], heard["ids"][: len(spoken.codes)])
        assert len(spoken.codes) >= 8
        ours = backend.decode(spoken.codes, 5, prompts[0].reference)
        assert np.array_equal(ours, heard["wave"])


def test_nothing_is_labelled_but_codes_and_stop(backend, prompts):
    batch = backend.collate([example(backend, prompts[0], 3), example(backend, prompts[1], 5)])
    assert [int((row != IGNORED).sum()) for row in batch["labels"]] == [4, 6]
    assert batch["labels"][0, 3] == batch["labels"][1, 5] == layout.SPEECH_STOP
