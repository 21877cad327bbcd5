"""Speaker similarity: cosine between a clip and its speaker's voice, both by Resemblyzer (GE2E).

A speaker's voice is the mean embedding of some training clips, never of the clip that is judged. The level
of real recordings against their own voice and against the other speakers' tells how to read a number.

An embedding depends on the length of what is embedded: the same voice has a cosine of 0.67 in 0.3 s and of
0.96 in 6 s. So clips with less than 1.5 s of speech are joined with others of their speaker before they are
embedded, those of the voice and those that are judged. No clip is dropped: each has the value of what it was
joined into.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio
from sotaque.manifest import Utterance
from sotaque.metrics.context import RATE_HZ, Context, Scores, read_wave
from sotaque.metrics.registry import Column, Mean, Metric, Reading
from sotaque.progress import counter

SHORTEST_S = 1.5  # of speech in one embedding
BOUNDS = -1.0, 1.0  # of a cosine
WITHOUT_SPEECH = 0.0  # the cosine of vectors that have nothing in common


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
        return self.embed_speech(self.speech(wave, rate_hz))

    def speech(self, wave: np.ndarray, rate_hz: int) -> np.ndarray:
        """The parts of a wave (T,) in which somebody speaks, (S,) at 16 kHz; S is 0 where nobody does."""
        samples = audio.resample(np.asarray(wave, np.float32), rate_hz, RATE_HZ)
        return self.preprocess(np.clip(samples, -1.0, 1.0)) if np.any(samples) else samples[:0]

    def embed_speech(self, speech: np.ndarray) -> np.ndarray | None:
        """The unit vector (256,) of speech (S,) at 16 kHz; None where there is none."""
        if not len(speech):
            return None
        vector = self.encoder.embed_utterance(speech)
        return vector if np.all(np.isfinite(vector)) else None


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def hash_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """An order that looks random, is the same everywhere, and barely moves when clips are added."""
    return sorted(utterances, key=lambda u: hashlib.sha256(u.id.encode()).digest())


def join(lengths_s: Mapping[str, float]) -> list[list[str]]:
    """Clips of one speaker, by id, into groups of at least 1.5 s, in the order of their ids.

    lengths_s: seconds of speech in each clip. A clip of 1.5 s or more stays alone. Shorter ones are joined
    until they are long enough. The rest joins the last group of short ones, else the shortest long clip; only
    where all clips together are too short is a group shorter. A clip without speech is in no group.
    """
    groups: list[list[str]] = []
    rest: list[str] = []
    for name in sorted(lengths_s):
        if 0 < lengths_s[name] < SHORTEST_S:
            rest.append(name)
            if sum(lengths_s[part] for part in rest) >= SHORTEST_S:
                groups.append(rest)
                rest = []
    long = sorted((length_s, name) for name, length_s in lengths_s.items() if length_s >= SHORTEST_S)
    alone = [[name] for _, name in long]
    if rest and groups:
        groups[-1] += rest
    elif rest and alone:
        alone[0] += rest
    elif rest:
        groups.append(rest)
    return sorted(groups + alone)


class Voices:
    """How each speaker sounds: the mean embedding of up to `count` of their recordings.

    Recordings with less than 1.5 s of speech are joined with those that follow, and count as one.
    """

    def __init__(self, recordings: Sequence[Utterance], count: int, encoder: SpeakerEncoder):
        self.vectors: dict[str, dict[tuple[str, ...], np.ndarray]] = {}
        waiting: dict[str, dict[str, np.ndarray]] = {}
        for utterance in hash_order(recordings):
            if len(self.vectors.setdefault(utterance.speaker, {})) >= count:
                continue
            parts = waiting.setdefault(utterance.speaker, {})
            wave = read_wave(Path(utterance.audio))
            if wave is not None:
                parts[utterance.id] = encoder.speech(wave, RATE_HZ)
            if sum(map(len, parts.values())) >= SHORTEST_S * RATE_HZ:
                self._add(utterance.speaker, waiting.pop(utterance.speaker), encoder)
        for speaker, parts in waiting.items():
            if not self.vectors[speaker]:  # all of the speaker's recordings together are too short
                self._add(speaker, parts, encoder)

    def _add(self, speaker: str, parts: dict[str, np.ndarray], encoder: SpeakerEncoder) -> None:
        spoken = {name: speech for name, speech in parts.items() if len(speech)}
        vector = encoder.embed_speech(np.concatenate(list(spoken.values()))) if spoken else None
        if vector is not None:
            self.vectors[speaker][tuple(spoken)] = vector

    def similarity(
        self, vector: np.ndarray, speaker: str, without: Collection[str] = frozenset()
    ) -> float | None:
        """Cosine of an embedding (256,) with a speaker's voice; the clips `without` are left out of it."""
        voice = self.vectors.get(speaker, {})
        others = [v for names, v in voice.items() if not set(names) & set(without)]
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


def compare(
    encoder: SpeakerEncoder, voices: Voices, speaker: str, speech: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Compare clips that one speaker should have said with the voices.

    speech: id -> speech (S,) at 16 kHz of each clip. Returns id -> `unit` (the first id of those that were
    joined, see `join`), `similarity` and `other_speakers`; None without speech, or where no voice is known.
    """
    rows = {name: {"unit": name, "similarity": None, "other_speakers": None} for name in speech}
    for names in join({name: len(part) / RATE_HZ for name, part in speech.items()}):
        vector = encoder.embed_speech(np.concatenate([speech[name] for name in names]))
        if vector is None:
            continue
        found = {
            "unit": names[0],
            "similarity": voices.similarity(vector, speaker, without=names),
            "other_speakers": voices.to_others(vector, speaker),
        }
        rows |= {name: dict(found) for name in names}
    return rows


def score(context: Context) -> Scores:
    encoder = SpeakerEncoder()
    count = context.settings.evaluate.reference_clips
    voices = Voices(recordings_of(context), count, encoder)
    found: dict[str, dict[str, Any]] = {}
    silent: set[str] = set()
    ordered = sorted(context.utterances, key=lambda u: (u.speaker, u.group, u.id))
    with counter(f"similarity of {context.system}", len(ordered)) as advance:
        for (speaker, _), clips in itertools.groupby(ordered, key=lambda u: (u.speaker, u.group)):
            speech = {}
            for utterance in clips:
                wave = context.wave(utterance)
                speech[utterance.id] = encoder.speech(wave if wave is not None else np.zeros(0), RATE_HZ)
                advance()
            silent |= {name for name, part in speech.items() if not len(part)}
            found |= compare(encoder, voices, speaker, speech)
    rows = [context.row(u, failed=u.id in silent) | found[u.id] for u in context.utterances]
    units = Counter(row["unit"] for row in rows)
    joined = sum(units[row["unit"]] > 1 for row in rows)
    return Scores(rows, {"encoder": "Resemblyzer (GE2E)", "reference_clips": count, "joined_clips": joined})


def describe(method: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "Similarity",
            f"{method['encoder']}, mean over all clips; a voice is the mean of {method['reference_clips']} "
            f"training clips; a clip without speech counts as {WITHOUT_SPEECH:g}; {method['joined_clips']} "
            f"clips were measured joined, since an embedding needs {SHORTEST_S:g} s of speech",
        )
    ]


def explain(reading: Reading) -> str:
    own, others = reading.figures["similarity"], reading.figures["other_speakers"]
    sentence = "Similarity is the cosine between the Resemblyzer embedding of a clip and the speaker's voice."
    if own is None:
        return sentence
    sentence += f" The recordings themselves reach {own:.3f} with their own speaker"
    if others is not None:
        sentence += f" and {others:.3f} with the other speakers of the corpus"
    return sentence + "."


METRIC = Metric(
    columns=(
        Column("similarity", "Similarity", Mean("similarity", WITHOUT_SPEECH, BOUNDS), "higher",
               target="similarity", headline=True, clip_field="similarity"),
        Column("other_speakers", "Similarity to other speakers", Mean("other_speakers", None), "lower",
               in_tables=False),
    ),
    score=score,
    describe=describe,
    explain=explain,
)  # fmt: skip
