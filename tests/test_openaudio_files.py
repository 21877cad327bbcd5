"""OpenAudio's files: the codec against upstream's own way of making it, and every file that does not belong.

Upstream loads what fits and logs the rest, clamps codes, numbers tokens anew and takes a missing list for
another; each of these speaks noise instead of an error.
"""

import importlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch

import tiny_openaudio
from sotaque import backends, model_spec
from sotaque.backends.families import OpenAudioGeneration
from sotaque.backends.openaudio import codec
from sotaque.errors import InputError, ModelError, SettingsError


@pytest.fixture(scope="module")
def subject(subjects):
    return subjects("openaudio")


@pytest.fixture
def base(backend):
    return backend.base


def load(base):
    return backends.load("openaudio", base, torch.device("cpu"))


@pytest.fixture
def other(base, tmp_path):
    """A copy of the base, to be spoilt."""
    shutil.copytree(base, tmp_path / "other")
    return tmp_path / "other"


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_model_s_file_waits_for_a_revision_and_fits(backend, workplace):
    """Pinned, it is read; its targets are layers of both the slow and the fast network."""
    path = model_spec.path_of("openaudio-s1-mini")
    with pytest.raises(SettingsError, match=r"network.hub is .* and codec.hub is .* without a revision"):
        model_spec.read("openaudio-s1-mini")
    path.write_text(path.read_text().replace("REVISION", "a1" * 20))
    spec = model_spec.read("openaudio-s1-mini")
    assert (spec.backend, spec.sample_rate_hz) == ("openaudio", 44100)
    assert isinstance(spec.generation, OpenAudioGeneration)
    assert spec.weights_licence.startswith("CC-BY-NC-SA-4.0")
    assert "almost unable to be finetuned with LoRA" in spec.about
    names = [name for name, _ in backend.load_network().named_modules()]
    for stack in ("layers", "fast_layers"):
        found = {name.rpartition(".")[2] for name in names if name.startswith(f"{stack}.")}
        assert set(spec.lora_targets) <= found
    path.write_text(path.read_text().replace("top_p:", "top_k:"))
    with pytest.raises(SettingsError, match=r"unknown key generation\.top_k"):
        model_spec.read("openaudio-s1-mini")


def test_the_package_s_own_numbers_are_those_of_s1_mini(tmp_path):
    numbers = codec.Numbers(tmp_path)
    assert (numbers.rate_hz, numbers.frame_samples, numbers.sizes) == (44100, 2048, (4096, 1024, 10))
    assert numbers.longest_frames == 4096


def test_the_codec_is_the_one_that_hydra_would_make(base, backend):
    """Upstream's load_model, less what it asks of the place where it lies (.project-root)."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    dac = instantiate(OmegaConf.load(base / "codec" / codec.CONFIG))
    dac.load_state_dict(torch.load(base / "codec/codec.pth", weights_only=True), strict=False, assign=True)
    wave = tiny_openaudio.wave(0.5, 1)
    with torch.inference_mode():
        theirs, _ = dac.eval().encode(torch.from_numpy(wave)[None, None], torch.tensor([len(wave)]))
        decoded, _ = dac.decode(theirs, torch.tensor([theirs.shape[2]]))
    [ours] = backend.encode([wave])
    assert ours.dtype == np.int16
    assert np.array_equal(ours, theirs[0].T.numpy())
    assert np.array_equal(backend.decode(ours, seed=0), decoded.flatten().numpy())


def test_the_codec_is_made_where_there_is_no_project_root(other, tmp_path, monkeypatch):
    """Upstream's module looks for .project-root when imported, with a package that need not be here."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ImportError, FileNotFoundError), match=r"pyrootutils|root"):
        importlib.import_module("fish_speech.models.dac.inference")
    assert load(other).encode([tiny_openaudio.wave(0.1, 0)])[0].shape == (3, 10)


def test_frames_are_counted_by_samples(backend):
    waves = [tiny_openaudio.wave(0.5, i)[:n] for i, n in enumerate((1, 2048, 2049, 7000))]
    made = backend.encode(waves)
    assert [codes.shape for codes in made] == [(1, 10), (1, 10), (2, 10), (4, 10)]
    assert len(np.unique(made[3][:, 1:])) > 10
    assert np.array_equal(made[3], backend.encode([waves[3]])[0])
    assert [len(backend.decode(codes, 0)) for codes in made] == [2048, 2048, 4096, 8192]
    assert len(backend.decode(np.zeros((0, 10), np.int16), 0)) == 0


def test_a_code_that_upstream_would_clamp_is_refused(backend):
    spoilt = backend.encode([tiny_openaudio.wave(0.2, 0)])[0]
    spoilt[1, 4] = tiny_openaudio.RESIDUAL
    with pytest.raises(ModelError, match="frame 1, codebook 4: the code is 1024, expected 0 to 1023"):
        backend.decode(spoilt, 0)


def test_a_wave_that_is_too_long_is_refused(backend):
    with pytest.raises(InputError, match=r"wave 0 has 30.0 s, but this codec hears at most 23.8 s at once"):
        backend.encode([np.zeros(30 * 44100, np.float32)])
    with pytest.raises(InputError, match="expected finite samples"):
        backend.encode([np.full(9, np.nan, np.float32)])


def test_a_codec_without_its_derived_tensors_loads(other, backend):
    """Masks and rotations are functions of the configuration; a file may leave them out."""
    path = other / "codec/codec.pth"
    stored = torch.load(path, weights_only=True)
    derived = [key for key in stored if key.endswith(codec.DERIVED)]
    assert len(derived) == 6
    torch.save({"state_dict": {k: v for k, v in stored.items() if k not in derived}}, path)
    wave = tiny_openaudio.wave(0.3, 2)
    assert np.array_equal(load(other).encode([wave])[0], backend.encode([wave])[0])


FIREFLY = {"backbone.channel_layers.0.0.weight": torch.zeros(2), "head.conv_pre.weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (FIREFLY, r"tensors are missing, the first is .*; it holds backbone"),
        ({"encoder.block.0.conv.bias": torch.zeros(99)}, "not the weights of a modded DAC"),
        ([1, 2], "not the weights of a modded DAC"),
    ],
    ids=["firefly", "shape", "list"],
)
def test_another_codec_is_named(other, weights, words):
    torch.save(weights, other / "codec/codec.pth")
    with pytest.raises(ModelError, match=rf"codec.pth: .*{words}"):
        load(other).encode([tiny_openaudio.wave(0.1, 0)])


def test_the_codec_of_fish_1_5_is_named(other):
    path = other / "codec/codec.pth"
    path.rename(path.with_name("firefly-gan-vq-fsq-8x1024-21hz-generator.pth"))
    with pytest.raises(ModelError, match=r"found: firefly-gan.*; expected OpenAudio S1-mini's codec.pth"):
        load(other).decode(np.zeros((1, 10)), 0)


def test_a_configuration_cannot_name_a_class_to_import(other):
    """hydra would make whatever `_target_` names."""
    path = other / "codec" / codec.CONFIG
    edit(path, _target_="os.system")
    assert len(load(other).encode([tiny_openaudio.wave(0.1, 0)])[0]) == 3
    edit(path, command="true")
    with pytest.raises(ModelError, match="unexpected keyword argument 'command'"):
        load(other).encode([tiny_openaudio.wave(0.1, 0)])


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("name", ["network/model.pth", "codec/codec.pth"])
def test_pickled_code_is_not_run(other, capsys, name):
    (other / name).write_bytes(pickle.dumps({"weight": Bomb()}))
    with pytest.raises(ModelError, match=name.rpartition("/")[2]):
        (load(other).load_network if "model" in name else lambda: load(other).encode([np.zeros(9)]))()
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tokenizer.tiktoken", "special_tokens.json"])
def test_a_missing_tokenizer_file_is_named(other, name):
    """Upstream does without special_tokens.json: it takes 1024 semantic tokens, whatever the codec has."""
    (other / "network" / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: there is no such file; found: config.json, model.pth"):
        load(other)


def test_the_semantic_tokens_of_fish_1_5_are_named(other):
    tiny_openaudio.tokenizer(other / "network", semantic=1024)
    with pytest.raises(ModelError, match="lists 1024 semantic tokens, expected 1100 in a row"):
        load(other)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "no Fish tokenizer"),
        ('{"<|end_of_text|>": 256}', "no Fish tokenizer"),
        ('{"<|semantic:0|>": 256}', "lists 1 semantic tokens"),
        ('{"<|semantic:0|>": 300}', "is 300, but after the 256 tokens of tokenizer.tiktoken it is 256"),
    ],
)
def test_a_spoilt_list_of_tokens_is_named(other, content, words):
    (other / "network/special_tokens.json").write_text(content)
    with pytest.raises(ModelError, match=words):
        load(other)


def test_a_list_without_a_control_token_is_named(other):
    path = other / "network/special_tokens.json"
    path.write_text(path.read_text().replace("<|interleave|>", "<|other|>"))
    with pytest.raises(ModelError, match=r"there is no token <\|interleave\|>"):
        load(other)


def test_s2_files_are_named(other):
    """S2: safetensors and a Hugging Face tokenizer."""
    network = other / "network"
    (network / "model.pth").rename(network / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"model.pth: there is no such file; found: .*S2 is stored as safet"):
        load(other).load_network()
    (network / "tokenizer.tiktoken").rename(network / "tokenizer.json")
    with pytest.raises(ModelError, match=r"found: .*tokenizer.json; expected: .* S1-mini \(S2, with token"):
        load(other)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_codebooks": 8, "codebook_size": 1024}, r"8 codebooks of 1024 codes.*\(Fish Speech 1.5 has 8"),
        ({"model_type": "fish_qwen3_omni"}, "model_type is 'fish_qwen3_omni', expected 'dual_ar'"),
        ({"text_config": {}}, "not the configuration of OpenAudio S1-mini .*text_config"),
        ({"vocab_size": 1300}, "vocab_size is 1300, but the tokens of .* end at 1363"),
        ({"dim": 32, "fast_dim": 32}, "size mismatch for .* do not belong together"),
        ({"tie_word_embeddings": False}, "1 tensors are missing, the first is output.weight"),
    ],
    ids=["fish-1.5", "s2", "unknown", "vocabulary", "shape", "missing"],
)
def test_a_network_that_does_not_fit_is_named(other, values, words):
    edit(other / "network/config.json", **values)
    with pytest.raises(ModelError, match=words):
        load(other).load_network()


def test_tensors_that_are_not_used_are_kept(other, tmp_path, caplog):
    """Upstream drops such ones when it loads; the merged file has every name of the base."""
    path = other / "network/model.pth"
    torch.save(torch.load(path, weights_only=True) | {"audio_projector.weight": torch.ones(3)}, path)
    made = load(other)
    made.save_merged(made.load_network(), tmp_path / "merged")
    assert "not used, only kept: audio_projector.weight" in caplog.text
    assert made.weight_keys(tmp_path / "merged") == made.weight_keys()
    assert "audio_projector.weight" in made.weight_keys()


def test_queries_apart_from_keys_are_refused(other):
    """Upstream joins them when it loads; written back under the old names they would stay the base's."""
    path = other / "network/model.pth"
    stored = torch.load(path, weights_only=True)
    joined = stored.pop("layers.0.attention.wqkv.weight")
    parts = zip(("wq", "wk", "wv"), joined.split([16, 8, 8]), strict=True)
    torch.save(stored | {f"layers.0.attention.{name}.weight": part for name, part in parts}, path)
    with pytest.raises(
        ModelError, match=r"layers.0.attention.wk.weight, expected queries, keys and values in wqkv"
    ):
        load(other).load_network()


def test_a_missing_package_says_what_to_type(base, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"fish_speech, dac, audiotools.* type: make backends"):
        load(base)
