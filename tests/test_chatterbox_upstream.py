"""Chatterbox generates as upstream does, in both of upstream's versions.

v2: the code of the wheel, run here at its own settings. v3: newer than the wheel; what it gave stands in
chatterbox_upstream.json, which make_chatterbox_fixture.py makes from a checkout of upstream.
"""

import json
import re

import huggingface_hub
import numpy as np
import pytest
import torch

import make_chatterbox_fixture as fixture
import tiny_chatterbox as tiny
from conftest import ROOT
from sotaque import backends, model_spec
from sotaque.backends import upstream
from sotaque.backends.chatterbox import network
from sotaque.backends.families import ChatterboxGeneration
from sotaque.backends.protocol import Prompt
from sotaque.errors import SettingsError

UPSTREAM = json.loads(fixture.FIXTURE.read_text(encoding="utf-8"))
CPU = torch.device("cpu")
V3 = "t3_mtl23ls_v3.safetensors"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return tiny.reference(tmp_path_factory.mktemp("reference"), fixture.REFERENCE_S)


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v2")
    return backends.load("chatterbox", fixture.base(folder, network.NAME), CPU)


@pytest.fixture(scope="module")
def v3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v3")
    return backends.load("chatterbox", fixture.base(folder, V3), CPU)


@pytest.fixture(scope="module")
def wheel(v2):
    """Upstream's own loader, whose tokenizer asks the hub for a table when it can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        kind = upstream.load("chatterbox.mtl_tts").ChatterboxMultilingualTTS
        return kind.from_local(v2.base / "network", "cpu")


def settings(version, max_codes):
    """The defaults of a version, and at most so many codes."""
    return ChatterboxGeneration(version=version, max_s=(max_codes + 0.5) / 25)


def speak(backend, version, text, language, max_codes, reference, seed):
    """(codes with the stop as upstream returns it, wave)."""
    how = settings(version, max_codes)
    prompt = Prompt(text, "ana", language, reference)
    [spoken] = backend.generate(backend.load_network(dtype=backend.speaking_dtype), [prompt], how, [seed])
    ids = spoken.codes[:, 0].tolist() + [fixture.STOP] * spoken.stopped
    return ids, backend.decode(spoken.codes, seed, reference, how)


def test_the_fixture_names_its_source():
    assert UPSTREAM["source"] == "https://github.com/resemble-ai/chatterbox"
    assert UPSTREAM["licence"] == "MIT"
    assert re.fullmatch("[0-9a-f]{40}", UPSTREAM["commit"])
    assert [(c["text"], c["language"]) for c in UPSTREAM["cases"]] == [c[:2] for c in fixture.CASES]


@pytest.mark.parametrize("case", UPSTREAM["cases"], ids=lambda case: case["text"])
def test_v3_is_upstreams_current_code(v3, reference, case):
    """Same ids, two equal ones in a row among them; and the sound of the last code is cut."""
    ids, wave = speak(v3, "v3", case["text"], case["language"], case["max_codes"], reference, case["seed"])
    assert ids == case["ids"]
    codes = len(ids) - (ids[-1] == fixture.STOP)
    assert len(wave) == case["samples"] == (codes - 1) * fixture.FRAME_SAMPLES
    level = np.sqrt((wave.reshape(-1, fixture.FRAME_SAMPLES) ** 2).mean(1))
    assert level == pytest.approx(case["level"], rel=0.02)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("text", "language"), [c[:2] for c in fixture.CASES[:2]])
def test_v2_is_the_wheel_at_its_own_settings(v2, wheel, reference, text, language, seed):
    """Bit by bit: its generate is called with a text, a language and a reference alone."""
    with fixture.seeded(wheel, seed, fixture.MAX_CODES) as said:
        theirs = wheel.generate(text, language, audio_prompt_path=str(reference.audio))[0].numpy()
    ids, wave = speak(v2, "v2", text, language, fixture.MAX_CODES, reference, seed)
    assert ids == said[0][0].tolist()
    assert np.array_equal(wave, theirs)
    assert len(wave) == (len(ids) - 1) * fixture.FRAME_SAMPLES


def test_the_versions_differ(v2, v3, reference):
    """The same weights: the analyser ends the speech after two equal codes, or lets it not end before."""
    text, language, seeds = *fixture.CASES[0][:2], range(4)
    both = [
        [speak(b, version, text, language, fixture.MAX_CODES, reference, seed)[0] for seed in seeds]
        for b, version in ((v2, "v2"), (v3, "v3"))
    ]
    assert any(ours != theirs for ours, theirs in zip(*both, strict=True))


def test_a_text_too_short_for_the_analyser_is_spoken_without_it(v2, wheel, reference):
    with fixture.seeded(wheel, 1), pytest.raises(IndexError):
        wheel.generate("E", "pt", audio_prompt_path=str(reference.audio))
    ids, _ = speak(v2, "v2", "E", "pt", fixture.MAX_CODES, reference, 1)
    assert 1 < len(ids) < fixture.MAX_CODES


def test_the_analyser_is_for_v2_weights_alone(v3, reference):
    with pytest.raises(SettingsError, match=rf"version is v2 .*{re.escape(V3)} is not .*; write version: v3"):
        speak(v3, "v2", "olá", "pt", 3, reference, 0)


def test_t3_generates_in_float32(v2):
    assert v2.speaking_dtype == torch.float32


@pytest.mark.parametrize(
    "path", sorted((ROOT / "workflow/models").glob("chatterbox-*.yaml")), ids=lambda p: p.stem
)
def test_the_shipped_files_have_the_version_of_their_weights(path):
    """A placeholder stands where a folder or a revision is to be named: the file is built, not checked."""
    spec = model_spec._build(model_spec.yaml_file.read(path), path)
    [weights] = [name for name in spec.network.files if name.startswith("t3_")]
    assert spec.generation.version == ("v2" if weights == network.NAME else "v3")
    assert spec.generation.repetition_penalty is None
    assert spec.generation.max_s is None
