"""Speaker similarity: cosine between a clip and its speaker's voice, both by Resemblyzer (GE2E).

A speaker's voice is the mean embedding of some training clips, never of the clip that is judged. The level
of real recordings against their own voice and against the other speakers' tells how to read a number.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio
from sotaque.manifest import Utterance
from sotaque.metrics import bootstrap
from sotaque.metrics.context import RATE_HZ, Context, Scores, read_wave
from sotaque.progress import track
from sotaque.settings import Settings


class SpeakerEncoder:
    """Resemblyzer's VoiceEncoder with the weights that its wheel carries, on the CPU."""

    def __init__(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import resemblyzer
        self.preprocess = resemblyzer.preprocess_wav
        self.encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(self, wave: np.ndarray, rate_hz: int) -> np.ndarray | None:
        """The voice in a wave (T,) as a unit vector (256,); None where no voice is found."""
        samples = audio.resample(np.asarray(wave, np.float32), rate_hz, RATE_HZ)
        if not np.any(samples):
            return None
        voiced = self.preprocess(np.clip(samples, -1.0, 1.0))
        if not len(voiced):
            return None
        vector = self.encoder.embed_utterance(voiced)
        return vector if np.all(np.isfinite(vector)) else None


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def hash_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """An order that looks random, is the same everywhere, and barely moves when clips are added."""
    return sorted(utterances, key=lambda u: hashlib.sha256(u.id.encode()).digest())


class Voices:
    """How each speaker sounds: the mean embedding of up to `count` of their recordings."""

    def __init__(self, recordings: Sequence[Utterance], count: int, encoder: SpeakerEncoder):
        self.vectors: dict[str, dict[str, np.ndarray]] = {}
        for utterance in hash_order(recordings):
            own = self.vectors.setdefault(utterance.speaker, {})
            if len(own) < count:
                wave = read_wave(Path(utterance.audio))
                vector = None if wave is None else encoder.embed(wave, RATE_HZ)
                if vector is not None:
                    own[utterance.id] = vector

    def similarity(self, vector: np.ndarray, speaker: str, without: str = "") -> float | None:
        """Cosine of an embedding (256,) with a speaker's voice, the clip `without` left out of that voice."""
        others = [v for name, v in self.vectors.get(speaker, {}).items() if name != without]
        return cosine(vector, np.mean(others, axis=0)) if others else None

    def to_others(self, vector: np.ndarray, speaker: str) -> float | None:
        """Mean cosine of an embedding with the voices of all speakers but this one."""
        cosines = [self.similarity(vector, other) for other in self.vectors if other != speaker]
        known = [c for c in cosines if c is not None]
        return float(np.mean(known)) if known else None


def recordings_of(context: Context) -> list[Utterance]:
    """The training clips; test recordings stand in for speakers who have none (a split by speaker)."""
    heard = {u.speaker for u in context.train}
    return [*context.train, *(u for u in context.utterances if u.speaker not in heard)]


def score(context: Context) -> Scores:
    encoder = SpeakerEncoder()
    count = context.settings.evaluate.reference_clips
    voices = Voices(recordings_of(context), count, encoder)
    rows = []
    for utterance in track(context.utterances, f"similarity of {context.system}"):
        wave = context.wave(utterance)
        vector = None if wave is None else encoder.embed(wave, RATE_HZ)
        own = others = None
        if vector is not None:
            own = voices.similarity(vector, utterance.speaker, without=utterance.id)
            others = voices.to_others(vector, utterance.speaker)
        row = {"speaker": utterance.speaker, "similarity": own, "other_speakers": others}
        rows.append(context.row(utterance, failed=wave is None) | row)
    return Scores(
        rows, {"encoder": "Resemblyzer (GE2E)", "reference_clips": count, "over": "clips with a voice"}
    )


def summarize(rows: Sequence[dict[str, Any]], settings: Settings) -> dict[str, float | None]:
    """Mean cosine with the own voice, its 95 % interval, and the mean with the voices of the others."""
    own = [row["similarity"] for row in rows if row["similarity"] is not None]
    others = [row["other_speakers"] for row in rows if row["other_speakers"] is not None]
    ones = np.ones(len(own))
    low, high = bootstrap.interval(own, ones, settings.evaluate.bootstrap_samples, settings.seed)
    return {
        "similarity": bootstrap.ratio(own, ones),
        "similarity_low": low,
        "similarity_high": high,
        "other_speakers": bootstrap.ratio(others, np.ones(len(others))),
    }
