"""A pool of spoken clips on disk, one flat int16 array and an index: what codec and ASR are trained on.

Clip number i is a function of (seed, i) alone, so any number of processes makes the same bytes.
"""

import json
import os
import random
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sotaque.micro import speech
from sotaque.micro.voices import Voice


@dataclass(frozen=True)
class PoolSettings:
    """base_share: clips by the base's voices; template_share: sentences, the rest random words."""

    clips: int
    base_share: float
    template_share: float
    language_shares: dict[str, float]


def draw(settings: PoolSettings, seed: int, index: int) -> tuple[Voice, str]:
    rng = random.Random(f"{seed}:pool:{index}")  # noqa: S311
    kind = speech.base_voice if rng.random() < settings.base_share else speech.heard_voice
    voice = kind(rng, settings.language_shares)
    return voice, speech.training_text(rng, voice.language, settings.template_share, 1, 5)


def _speak(settings: PoolSettings, seed: int, index: int) -> tuple[dict, np.ndarray]:
    voice, text = draw(settings, seed, index)
    samples, phonemes = speech.render_phonemes(voice, text)
    return {"text": text, **asdict(voice), "phonemes": phonemes}, np.round(samples * 32767).astype(np.int16)


def make(folder: Path, settings: PoolSettings, seed: int, workers: int) -> None:
    """Write samples.i16 and index.jsonl into `folder`; the index last, so that a broken pool is remade."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, start = [], 0
    with open(folder / "samples.i16", "wb") as out, get_context("spawn").Pool(workers) as processes:
        spoken = processes.imap(partial(_speak, settings, seed), range(settings.clips), chunksize=32)
        for number, (row, samples) in enumerate(spoken):
            out.write(samples.tobytes())
            rows.append(row | {"start": start, "length": len(samples)})
            start += len(samples)
            if number % 1000 == 0:
                print(
                    f"pool: {number} of {settings.clips} clips, {start / speech.RATE_HZ / 3600:.2f} h",
                    flush=True,
                )
    _write_index(folder, rows)


def decode(folder: Path, pool: "Pool", codec, count: int) -> None:
    """The first `count` clips as the codec gives them back, a pool like any other."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, start = [], 0
    with open(folder / "samples.i16", "wb") as out:
        for index in range(count):
            samples = codec.decode(codec.encode([pool.audio(index)])[0], seed=0)
            out.write(np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
            rows.append(pool.rows[index] | {"start": start, "length": len(samples)})
            start += len(samples)
            if index % 500 == 0:
                print(f"decoded: {index} of {count} clips", flush=True)
    _write_index(folder, rows)


def _write_index(folder: Path, rows: list[dict]) -> None:
    temporary = folder / "index.tmp"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    temporary.write_text("".join(lines), encoding="utf-8")
    os.replace(temporary, folder / "index.jsonl")


class Pool:
    """rows: dicts with text, language, speaker, espeak, phonemes, start, length. `audio(i)`: (T,) float32."""

    def __init__(self, folder: Path):
        self.rows = [
            json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        self.samples = np.memmap(folder / "samples.i16", np.int16, "r")

    def audio(self, index: int) -> np.ndarray:
        row = self.rows[index]
        return self.samples[row["start"] : row["start"] + row["length"]].astype(np.float32) / 32767

    def segment(self, index: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """`length` samples, padded with silence, and their random place in the clip. (length,) float32"""
        samples = self.audio(index)
        start = int(rng.integers(0, max(1, len(samples) - length + 1)))
        piece = samples[start : start + length]
        return np.pad(piece, (0, length - len(piece))), start

    def phonemes_at(self, index: int, places: np.ndarray) -> list[str]:
        """The phoneme said at each sample of the clip; silence after its end."""
        row = self.rows[index]
        return speech.phonemes_at(row["phonemes"], row["length"], places)
