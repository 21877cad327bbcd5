"""What every metric is given, and what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sotaque import audio, manifest
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Utterance
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings

if TYPE_CHECKING:
    import torch

RATE_HZ = 16_000
SHORTEST_S = 0.05


@dataclass(frozen=True)
class Scores:
    """rows: one per utterance, plain values; method: what the numbers were measured with."""

    rows: list[dict[str, Any]]
    method: dict[str, Any]


@dataclass(frozen=True)
class Context:
    """One system to be measured.

    base, network: the folders of the base model and of the network that the system speaks with.
    wav: the folder with a WAV per utterance. train: the clips that tell how each speaker sounds.
    """

    settings: Settings
    spec: ModelSpec
    system: str
    base: Path
    network: Path
    wav: Path
    utterances: Sequence[Utterance]
    train: Sequence[Utterance]
    device: torch.device

    def wave(self, utterance: Utterance) -> np.ndarray | None:
        """What the system said, (T,) float32 at 16 kHz, the rate of all scorers; None without sound."""
        return read_wave(self.wav / f"{utterance.id}.wav")

    def row(self, utterance: Utterance, failed: bool = False) -> dict[str, Any]:
        """The beginning of each metric's row; a clip without sound has failed."""
        return {"id": utterance.id, "group": utterance.group, "status": "failed" if failed else "ok"}


def read_wave(path: Path) -> np.ndarray | None:
    """A file at 16 kHz; None where it is missing, empty, shorter than 50 ms or digital silence.

    Raises InputError for a file that is damaged.
    """
    try:
        samples, rate_hz = audio.read(path)
    except ClipError as error:
        if error.code in ("missing", "empty"):
            return None
        raise InputError(f"{path}: {error}; delete it and run the stage that writes it") from None
    if len(samples) < SHORTEST_S * rate_hz or not np.any(samples):
        return None
    return audio.resample(samples, rate_hz, RATE_HZ)


def utterances_of(splits: Path, part: str) -> tuple[Utterance, ...]:
    """The utterances of train, val or test, by id."""
    return _read((splits / f"{part}.jsonl").resolve())


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Utterance, ...]:
    return tuple(manifest.read(path))
