"""A tiny random Chatterbox in the real checkpoint layout: files that upstream's own loader loads.

chatterbox-tts writes its sizes into its code. `shrink` gives other sizes to the same classes: through the
table of Llama configurations, the default configuration of the S3 tokenizer, and smaller arguments where
S3Gen makes its parts. What cannot be given stays: the width of T3 (1024, by its perceiver), fourteen of its
layers and sixteen heads (by the alignment's), all vocabularies and tables of positions.
"""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models

from sotaque import audio, files
from sotaque.backends import upstream
from sotaque.backends.protocol import Reference

MARKS = "\u0300\u0301\u0302\u0303\u0308\u0327"  # combining: the text is decomposed
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-()¿¡" + MARKS + "ابتثجحخدذرزسشصضطظعغفقكلمنهويءةىّ"
LANGUAGES = ("ar", "de", "en", "es", "fr", "ja", "pt", "zh")
FILES = (
    "conds.pt", "grapheme_mtl_merged_expanded_v1.json", "s3gen.pt", "t3_mtl23ls_v2.safetensors", "ve.pt",
)  # fmt: skip
LLAMA = {
    "num_hidden_layers": 14, "intermediate_size": 16, "head_dim": 4, "initializer_range": 0.05,
}  # fmt: skip
PARTS = {
    "ConditionalDecoder": {
        "channels": [16], "attention_head_dim": 8, "n_blocks": 1, "num_mid_blocks": 1, "num_heads": 1,
    },
    "UpsampleConformerEncoder": {"num_blocks": 1, "linear_units": 16},
    "HiFTGenerator": {"base_channels": 16},
    "ConvRNNF0Predictor": {"cond_channels": 8},
    "CAMPPlus": {"growth_rate": 4, "init_channels": 8},
}  # fmt: skip
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
SPEC = """
backend: chatterbox
about: random weights
weights_licence: none
sample_rate_hz: 24000
network: {folder: unused}
codec: {folder: unused}
asr: {folder: unused}
lora_targets: [q_proj, k_proj, v_proj, o_proj]
generation: {temperature: 0.8, cfg: 0.5, exaggeration: 0.5, max_s: 0.4}
"""


@functools.cache
def shrink() -> None:
    """Give upstream's classes small sizes, in this process."""
    upstream.load("chatterbox.models.t3.llama_configs").LLAMA_CONFIGS["Llama_520M"].update(LLAMA)
    tokenizer = upstream.load("s3tokenizer.model_v2").S3TokenizerV2
    [config] = tokenizer.__init__.__defaults__
    config.n_audio_state, config.n_audio_head, config.n_audio_layer = 64, 1, 1
    s3gen = upstream.load("chatterbox.models.s3gen.s3gen")
    for name, sizes in PARTS.items():
        setattr(s3gen, name, _smaller(getattr(s3gen, name), sizes))


def _smaller(kind, sizes):
    return lambda *args, **kwargs: kind(*args, **kwargs | sizes)


def base(folder: Path, seed: int = 0) -> Path:
    """A base folder with network/ and codec/, random weights drawn from `seed`; made once, then copied."""
    for path in files.walk(_made(seed)):
        files.copy(path, folder / path.relative_to(_made(seed)))
    return folder


@functools.cache
def _made(seed: int) -> Path:
    shrink()
    torch.manual_seed(seed)
    folder = Path(tempfile.mkdtemp(prefix="tiny-chatterbox-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    network, codec = folder / "network", folder / "codec"
    network.mkdir()
    codec.mkdir()
    tokenizer().save(str(network / "grapheme_mtl_merged_expanded_v1.json"))
    save_file(t3_weights(), network / "t3_mtl23ls_v2.safetensors")
    encoder = upstream.load("chatterbox.models.voice_encoder").VoiceEncoder()
    torch.save(encoder.state_dict(), network / "ve.pt")
    torch.save(_s3gen(), network / "s3gen.pt")
    os.link(network / "s3gen.pt", codec / "s3gen.pt")
    _conds().save(network / "conds.pt")
    return folder


def t3_weights() -> dict[str, torch.Tensor]:
    """Logits that differ, and no weight on the ids that are neither code nor stop."""
    config = upstream.load("chatterbox.models.t3.modules.t3_config").T3Config.multilingual()
    state = upstream.load("chatterbox.models.t3").T3(config).state_dict()
    state["speech_head.weight"] *= 10
    state["speech_head.weight"][6561] = 0
    state["speech_head.weight"][6563:] = 0
    return state


def _s3gen() -> dict[str, torch.Tensor]:
    """With batch statistics as they stand, and codes that are not all the middle one."""
    made = upstream.load("chatterbox.models.s3gen").S3Gen()
    state = made.state_dict()
    down = next(key for key in state if key.endswith("project_down.weight"))
    state[down] *= 20
    return state


def _conds():
    module = upstream.load("chatterbox.mtl_tts")
    speaker = torch.randn(1, 256)
    return module.Conditionals(module.T3Cond(speaker_emb=speaker, emotion_adv=0.5 * torch.ones(1, 1, 1)), {})


def tokenizer(languages: tuple[str, ...] = LANGUAGES, size: int = 2454, start: int = 255) -> Tokenizer:
    """Letters as tokens, the control tokens under their real names and ids."""
    controls = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": start}
    controls |= {f"[{language}]": 700 + i for i, language in enumerate(languages)}
    free = (i for i in range(size) if i not in controls.values())
    vocabulary = controls | {letter: next(free) for letter in LETTERS}
    vocabulary |= {f"<{i}>": i for i in free}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))  # noqa: S106
    made.add_special_tokens([AddedToken(name, special=True) for name in controls])
    return made


def reference(folder: Path, seconds: float = 2.5, seed: int = 0, rate_hz: int = 24_000) -> Reference:
    """A clip of noise with a beat and a hum, at what rate and of what length is asked for."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    hum = np.sin(2 * np.pi * (110 + 40 * seed) * time_s)
    wave = (0.1 * rng.normal(size=len(time_s)) + 0.2 * hum) * np.sin(2 * np.pi * 3 * time_s)
    path = folder / f"reference-{seed}-{seconds}-{rate_hz}.wav"
    audio.write(path, wave.astype(np.float32), rate_hz)
    return Reference("uma referência", path)
