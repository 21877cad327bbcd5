"""The sections of the model: what is fetched, how it learns, what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sotaque.settings.mapping import number


@dataclass(frozen=True)
class Fetch:
    offline: bool = False


@dataclass(frozen=True)
class Lora:
    rank: int = number(32, 1, 1024)
    alpha: int = number(64, 1, 4096)
    dropout: float = number(0.0, 0.0, 0.9)
    rslora: bool = False
    dora: bool = False
    modules_to_save: tuple[str, ...] = ()
    base_4bit: bool = False


@dataclass(frozen=True)
class Train:
    method: Literal["lora", "full"] = "lora"
    batch_clips: int = number(4, 1, 4096)
    accumulate: int = number(1, 1, 4096)
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = number(0.05, 0.0, 1.0)
    weight_decay: float = number(0.0, 0.0, 1.0)
    clip_norm: float = number(1.0, 0.0, 1000.0)
    max_failed_steps: int = number(3, 1, 1_000_000)
    save_every_steps: int = number(150, 1, 1_000_000)
    patience: int = number(0, 0, 1_000_000)
    max_tokens: int = number(2048, 16, 131_072)
    mask_prompt: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    packing: bool = False
    processes: int = number(1, 1, 1024)
    shard: bool = False
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Gate:
    step: int = number(0, 0, 1_000_000_000)
    clips: int = number(4, 1, 1000)
    wer: float = number(0.9, 0.0, 1000.0)


@dataclass(frozen=True)
class Select:
    clips: int = number(16, 1, 1000)


@dataclass(frozen=True)
class Merge:
    tolerance: float = number(1e-3, 0.0, 1.0)
