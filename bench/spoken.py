"""A corpus of any size in minutes: a few hundred sentences spoken by espeak-ng, and cheap copies of them.

A copy has a level of its own and up to 50 ms more silence in front, so no two files hold the same bytes.
Its text has one more word, which nobody says, so that most texts differ too.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import soundfile

from sotaque import audio
from sotaque.data.sentences import Grammar
from sotaque.micro.voices import TARGETS

SPOKEN = 300
VOICE = TARGETS["pt-br"]
PEAKS = (0.3, 0.9)
LEAD_S = 0.05


def write(folder: Path, clips: int, words: tuple[int, int], rate_hz: int = 22_050, seed: int = 0) -> float:
    """Write metadata.csv and wavs/, `words` (fewest, most) to a clip, as LJSpeech has them; the hours."""
    grammar = Grammar(VOICE.language, random.Random(seed))  # noqa: S311
    texts = [grammar.sequence(*words) for _ in range(min(SPOKEN, clips))]
    sounds = [_spoken(text, rate_hz) for text in texts]
    (folder / "wavs").mkdir(parents=True)
    lines, total = [], 0
    for number in range(clips):
        name, said = f"clip-{number:06d}", number % len(texts)
        copy = _copy(sounds[said], rate_hz, np.random.default_rng((seed, number)))
        soundfile.write(folder / f"wavs/{name}.wav", copy, rate_hz, subtype="PCM_16")
        lines.append(f"{name}|{texts[said]} {grammar.sequence(1, 1)}\n")
        total += len(copy)
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return total / rate_hz / 3600


def _spoken(text: str, rate_hz: int) -> np.ndarray:
    """(T,) float32 with a peak of 1."""
    samples = audio.resample(*VOICE.speak(text), rate_hz)
    return samples / np.abs(samples).max()


def _copy(samples: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    lead = np.zeros(rng.integers(int(LEAD_S * rate_hz)), np.float32)
    return np.concatenate([lead, samples * np.float32(rng.uniform(*PEAKS))])
