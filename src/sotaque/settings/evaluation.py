"""The sections of listening: what is spoken, how it is measured, and where the figures go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sotaque.settings.mapping import number


@dataclass(frozen=True)
class Targets:
    wer: float = number(0.15, 0.0, 10.0)
    mos: float = number(3.5, 1.0, 5.0)
    similarity: float = number(0.85, -1.0, 1.0)
    rtf: float = number(1.0, 0.0, 1000.0)


@dataclass(frozen=True)
class Synthesize:
    batch_clips: int = number(20, 1, 1024)
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Evaluate:
    reference_clips: int = number(10, 1, 1000)
    speed_clips: int = number(4, 1, 100)
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Report:
    clips: int = number(24, 1, 10_000)


@dataclass(frozen=True)
class Compare:
    models: tuple[str, ...] = ("micro",)
    clips: int = number(5, 1, 1000)


@dataclass(frozen=True)
class Tracking:
    enabled: bool = True
    experiment: str = "sotaque"
    also: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
