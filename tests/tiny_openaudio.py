"""A tiny random OpenAudio S1-mini in the real layout: files on disk that upstream's own loaders load.

Frames are as long as the real ones (2048 samples at 44.1 kHz) and have ten codes; the residual codebooks have
1024, as upstream's loop takes for granted, and the semantic one, being larger, 1100.
"""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from sotaque.backends.openaudio import codec as dac

RATE_HZ = 44100
TARGETS = ("wqkv", "wo", "w1", "w2", "w3")
SEMANTIC, RESIDUAL, BOOKS = 1100, 1024, 10
CONTROLS = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|text|>", "<|voice|>",
    "<|interleave|>",
]  # fmt: skip
CONFIG = {
    "model_type": "dual_ar", "n_layer": 2, "n_head": 2, "n_local_heads": 1, "dim": 16, "head_dim": 8,
    "intermediate_size": 32, "n_fast_layer": 2, "fast_dim": 16, "fast_n_head": 2, "fast_n_local_heads": 1,
    "fast_head_dim": 8, "fast_intermediate_size": 32, "attention_qk_norm": True,
    "fast_attention_qk_norm": False, "rope_base": 1000000, "norm_eps": 1e-6, "max_seq_len": 2560,
    "codebook_size": SEMANTIC, "num_codebooks": BOOKS, "tie_word_embeddings": True,
    "scale_codebook_embeddings": True, "initializer_range": 0.5,
}  # fmt: skip


def base(folder: Path, seed: int = 0, **config) -> Path:
    """A base folder with network/ and codec/; config: what differs from CONFIG."""
    network(folder / "network", seed, **config)
    codec(folder / "codec", seed)
    return folder


def network(folder: Path, seed: int = 0, **config) -> None:
    from sotaque.backends.openaudio.network import llama

    tokenizer(folder)
    fish = llama.FishTokenizer.from_pretrained(str(folder))
    values = CONFIG | {"vocab_size": fish.vocab_size + fish.num_special_tokens} | config
    (folder / "config.json").write_text(json.dumps(values))
    torch.manual_seed(seed)
    made = llama.DualARTransformer(llama.BaseModelArgs.from_pretrained(str(folder)), fish)
    torch.save(made.state_dict(), folder / "model.pth")


def tokenizer(folder: Path, semantic: int = SEMANTIC) -> None:
    """Bytes as text tokens, then the control tokens and the semantic ones."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = [f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256)]
    (folder / "tokenizer.tiktoken").write_text("".join(ranks))
    names = [*CONTROLS, *(f"<|semantic:{code}|>" for code in range(semantic))]
    (folder / "special_tokens.json").write_text(json.dumps({name: 256 + i for i, name in enumerate(names)}))


def codec_config() -> dict:
    """The package's own numbers, made narrow; few positions, for causal masks are square."""
    config = dac.read_config(Path("no such folder"))
    window = {
        "block_size": 512,
        "n_layer": 1,
        "n_head": 2,
        "dim": 32,
        "intermediate_size": 64,
        "head_dim": 16,
    }
    for side in ("pre_module", "post_module"):
        module = config["quantizer"][side]
        config["quantizer"][side] = module | {"input_dim": 64, "config": module["config"] | window}
    config["quantizer"] |= {"input_dim": 64, "codebook_size": RESIDUAL, "semantic_codebook_size": SEMANTIC}
    config["transformer_general_config"] |= {"block_size": 2048, "head_dim": 64}
    return config | {
        "encoder_dim": 4, "decoder_dim": 32, "encoder_transformer_layers": [0, 0, 0, 1],
        "decoder_transformer_layers": [0, 0, 0, 0],
    }  # fmt: skip


def codec(folder: Path, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = codec_config()
    (folder / dac.CONFIG).write_text(json.dumps(config))
    torch.manual_seed(seed)
    made = dac.build(config)
    for name, parameter in made.named_parameters():
        if name.endswith("codebook.weight"):
            torch.nn.init.normal_(parameter)
    torch.save(made.state_dict(), folder / dac.WEIGHTS)


def copy(source: Path, target: Path) -> Path:
    """The same base, for a test that spoils it."""
    shutil.copytree(source, target)
    return target


def with_network(source: Path, network: Path) -> Path:
    """A base of `network`, which lies in a folder of that name, and the codec of another base."""
    shutil.copytree(source / "codec", network.parent / "codec")
    return network.parent


def wave(seconds: float, seed: int) -> np.ndarray:
    """Noise with a slow beat, (T,) float32."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.2 * rng.normal(size=len(time_s)) * np.sin(2 * np.pi * 3 * time_s)).astype(np.float32)


SPEC = """
backend: openaudio
about: random weights
weights_licence: none
sample_rate_hz: 44100
network: {folder: unused}
codec: {folder: unused}
asr: {folder: unused}
lora_targets: [wqkv, wo, w1, w2, w3]
generation: {temperature: 1.0, top_p: 1.0, repetition_penalty: 1.1, max_s: 0.5}
"""
