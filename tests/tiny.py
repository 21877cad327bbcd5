"""Tiny random models in the real layouts: files on disk that the real loaders load.

`base(folder)` is what fetch would have made. The real ids and the real vocabulary of 156,940 are used
unless a smaller layout is asked for.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from snac import SNAC
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from sotaque import audio, files, manifest
from sotaque.backends.orpheus.layout import SLOTS
from sotaque.data import tokenize
from sotaque.manifest import Utterance
from sotaque.settings import Lora, Settings, Tracking, Train
from sotaque.training.record import LoraRecord, TrainingRecord

RATE_HZ = 24000
FRAME_SAMPLES = 32 * 4

READS = {
    "model": Path("workflow/models/tiny.yaml"), "splits": Path("data/splits"),
    "tokens": Path("data/tokens/tiny"), "base": Path("models/tiny/base"),
}  # fmt: skip
LORA = Path("models/tiny/lora")


@dataclass(frozen=True)
class Ids:
    text_start: int = 128000
    text_end: int = 128009
    first_custom: int = 128256
    codebook_size: int = 4096
    vocabulary: int = 156940


REAL = Ids()
SMALL = Ids(text_start=256, text_end=257, first_custom=258, codebook_size=32, vocabulary=258 + 10 + 7 * 32)


def base(folder: Path, ids: Ids = REAL, hidden: int = 16, layers: int = 2, seed: int = 0) -> Path:
    """A base folder with network/ and codec/, random weights drawn from `seed`."""
    network(folder / "network", ids, hidden, layers, seed)
    codec(folder / "codec", ids.codebook_size, seed)
    return folder


def network(folder: Path, ids: Ids = REAL, hidden: int = 16, layers: int = 2, seed: int = 0) -> None:
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=ids.vocabulary, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096, tie_word_embeddings=True,
        initializer_range=0.3, bos_token_id=ids.text_start, eos_token_id=ids.text_end,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(ids).save(str(folder / "tokenizer.json"))


def tokenizer(ids: Ids = REAL) -> Tokenizer:
    """Bytes as text tokens; the control tokens under their real names."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    controls = {"<|begin_of_text|>": ids.text_start, "<|eot_id|>": ids.text_end}
    numbers = [*range(10), 10 + SLOTS * ids.codebook_size - 1]
    controls |= {f"<custom_token_{n}>": ids.first_custom + n for n in numbers}
    vocabulary = {letter: i for i, letter in enumerate(letters)} | controls
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in controls])
    return made


def real(folder: Path, seed: int = 0) -> Path:
    """A base folder with the real vocabulary, and a codec of the real 2,048 samples a frame."""
    network(folder / "network", REAL, seed=seed)
    codec(folder / "codec", REAL.codebook_size, seed, rates=(2, 4, 8, 8))
    return folder


def codec(
    folder: Path, codebook_size: int = 4096, seed: int = 0, rates: tuple[int, ...] = (2, 2, 2, 4)
) -> None:
    """A SNAC of 128 samples a frame unless other rates are given, with the decoder's noise on."""
    torch.manual_seed(seed)
    config = {
        "sampling_rate": RATE_HZ, "encoder_dim": 4, "encoder_rates": list(rates), "decoder_dim": 16,
        "decoder_rates": list(rates[::-1]), "attn_window_size": None, "codebook_size": codebook_size,
        "codebook_dim": 8, "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(SNAC(**config).state_dict(), folder / "pytorch_model.bin")


SPEC = """
backend: orpheus
about: random weights
weights_licence: none
sample_rate_hz: 24000
network: {folder: unused}
codec: {folder: unused}
asr: {folder: unused}
lora_targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
generation: {temperature: 0.6, top_p: 0.9, repetition_penalty: 1.1, max_s: 0.2}
"""


def wave(seconds: float, seed: int) -> np.ndarray:
    """Noise with a slow beat, (T,) float32."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.2 * rng.normal(size=len(time_s)) * np.sin(2 * np.pi * 3 * time_s)).astype(np.float32)


def settings(epochs: int = 2) -> Settings:
    """params.yaml of the tiny world: 3 steps an epoch."""
    return Settings(
        model="tiny", seed=7, lr=1e-2, epochs=epochs, shards=2, lora=Lora(rank=4, alpha=8, dropout=0.1),
        train=Train(batch_clips=2, accumulate=2, save_every_steps=2, precision="float32"),
        tracking=Tracking(enabled=False),
    )  # fmt: skip


def world(train: int = 12, val: int = 3) -> Settings:
    """A working folder (the current one) where everything before `train` is done, with the SMALL layout."""
    Path("workflow/models").mkdir(parents=True, exist_ok=True)
    Path("workflow/models/tiny.yaml").write_text(SPEC)
    base(Path("models/tiny/base"), SMALL)
    tokenize.codec_sha256.cache_clear()
    made = [clip(i, settings()) for i in range(train + val)]
    manifest.write(Path("data/splits/train.jsonl"), made[:train])
    manifest.write(Path("data/splits/val.jsonl"), made[train:])
    for shard in manifest.shard_names(settings().shards):
        folder = Path("data/wav") / shard
        manifest.write(folder / "manifest.jsonl", [u for u in made if Path(u.audio).parent == folder])
        tokenize.run(
            settings(), model=Path("workflow/models/tiny.yaml"), wav=folder, base=Path("models/tiny/base"),
            out=Path("data/tokens/tiny") / shard, shard=shard,
        )  # fmt: skip
    return settings()


def clip(number: int, chosen: Settings) -> Utterance:
    """An utterance whose WAV lies where normalize would have put it."""
    name = f"clip-{number:03d}"
    path = Path("data/wav") / manifest.shard_of(name, chosen.shards) / f"{name}.wav"
    samples = wave(0.05 + 0.01 * (number % 5), number)
    audio.write(path, samples, RATE_HZ)
    return Utterance(name, path.as_posix(), f"frase {number}", "ana", "pt", duration_s=len(samples) / RATE_HZ)


RECORD = TrainingRecord(
    method="lora",
    lora=LoraRecord(32, 64, 0.0, False, False, False, ("q_proj", "v_proj"), ()),
    trainable_parameters=12_345, lr=1e-3, schedule="linear", warmup_share=0.05, optimizer="adamw",
    weight_decay=0.0, clip_norm=1.0, batch_clips=4, accumulate=1, packing=False, mask_prompt=True,
    precision="float32", seed=42, steps=600, planned_steps=600, epochs=6.0, clips=400, minutes=31.25,
    skipped=0, speakers=("ana", "zé"),
)  # fmt: skip


def train(chosen: Settings, out: Path = LORA) -> dict[str, float]:
    """What `sotaque train` does in a world: train, and forget the checkpoints when the output is there."""
    from sotaque.training import train as stage

    metrics = stage.run(chosen, **READS, out=out)
    stage.sealed(chosen, **READS, out=out)
    return metrics


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> checksum of every file."""
    return {p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)}
