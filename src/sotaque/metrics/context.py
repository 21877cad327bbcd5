"""What every metric is given, and what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sotaque import audio, files, manifest
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Utterance
from sotaque.metrics import failures
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings

if TYPE_CHECKING:
    import torch

RATE_HZ = 16_000
CLIPS = "clips.jsonl"


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

    def sound(self, utterance: Utterance) -> np.ndarray | None:
        """What the system generated, (T,) float32 at 16 kHz, the rate of all scorers; None without a file."""
        return read_sound(self.wav / f"{utterance.id}.wav")

    def wave(self, utterance: Utterance) -> np.ndarray | None:
        """As `sound`, and None where nothing in it is audible."""
        return read_wave(self.wav / f"{utterance.id}.wav")

    def stopped(self) -> dict[str, bool | None]:
        """id -> whether the model ended the clip itself; empty where no model generated the clips."""
        path = self.wav / CLIPS
        if not path.exists():
            return {}
        rows = map(files.parse_json, path.read_text(encoding="utf-8").splitlines())
        return {row["id"]: row.get("stopped") for row in rows}

    def row(self, utterance: Utterance, failed: bool = False) -> dict[str, Any]:
        """The beginning of each metric's row; failed: the clip has no speech."""
        return {
            "id": utterance.id,
            "group": utterance.group,
            "speaker": utterance.speaker,
            "status": "failed" if failed else "ok",
        }


def read_sound(path: Path) -> np.ndarray | None:
    """A file at 16 kHz; None where it is missing or empty.

    Raises InputError for a file that is damaged.
    """
    try:
        samples, rate_hz = audio.read(path)
    except ClipError as error:
        if error.code in ("missing", "empty"):
            return None
        raise InputError(f"{path}: {error}; delete it and run the stage that writes it") from None
    return audio.resample(samples, rate_hz, RATE_HZ) if len(samples) else None


def read_wave(path: Path) -> np.ndarray | None:
    """As `read_sound`, and None where nothing in it is audible (failures.is_audible)."""
    sound = read_sound(path)
    return sound if failures.is_audible(sound, RATE_HZ) else None


def utterances_of(splits: Path, part: str) -> tuple[Utterance, ...]:
    """The utterances of train, val or test, by id."""
    return _read((splits / f"{part}.jsonl").resolve())


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Utterance, ...]:
    return tuple(manifest.read(path))
