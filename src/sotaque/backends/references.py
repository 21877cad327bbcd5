"""How a speaker sounds: which clip is given to a family that wants a reference.

A finished voice is always spoken with the same clip of the training split. In training the clip changes
from epoch to epoch (training/batching.py), so that no model learns one reference by heart.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sotaque import audio
from sotaque.backends.protocol import Backend, Prompt, Reference
from sotaque.errors import InputError
from sotaque.manifest import Utterance

BEST_S = 10.0  # what the authors of the families advise


def prompt(utterance: Utterance, reference: Reference | None = None) -> Prompt:
    return Prompt(utterance.text, utterance.speaker, utterance.language, reference)


def usable(utterances: Sequence[Utterance], speaker: str, shortest_s: float) -> list[Utterance]:
    """The clips of a speaker that are long enough to be a reference."""
    return [u for u in utterances if u.speaker == speaker and u.duration_s >= shortest_s]


def nearest_to_best(utterances: Sequence[Utterance], speaker: str, shortest_s: float) -> Utterance:
    """The clip of a speaker whose length is nearest to 10 s.

    Raises InputError for a speaker without a clip that is long enough.
    """
    clips = usable(utterances, speaker, shortest_s)
    if not clips:
        longest_s = max((u.duration_s for u in usable(utterances, speaker, 0.0)), default=0.0)
        raise InputError(
            f"speaker {speaker!r} has no training clip of {shortest_s:g} s or more to take as reference, "
            f"which this model needs; the longest has {longest_s:.1f} s: add longer clips, or with "
            "split.by: speaker split by text"
        )
    return min(clips, key=lambda u: (abs(u.duration_s - BEST_S), u.id))


def codes_of(backend: Backend, reference: Reference) -> np.ndarray:
    """The codes (F, K) of a reference, encoded now if they are not with it.

    Raises InputError for one that is shorter than the backend wants.
    """
    codes = reference.codes if reference.codes is not None else _encoded(backend, reference.audio)
    if len(codes) < int(backend.shortest_reference_s * backend.frame_rate_hz):
        raise InputError(
            f"{reference.audio}: as a reference it has {len(codes) / backend.frame_rate_hz:.2f} s, expected "
            f"{backend.shortest_reference_s:g} s or more ({BEST_S:g} s are best); take a longer clip of the "
            "same speaker"
        )
    return codes


def _encoded(backend: Backend, path: Path) -> np.ndarray:
    samples, rate_hz = audio.read(path)
    [codes] = backend.encode([audio.resample(samples, rate_hz, backend.sample_rate_hz)])
    return codes


class References:
    """The clip of each speaker with which a finished voice is spoken; recordings: the training split."""

    def __init__(self, backend: Backend, recordings: Sequence[Utterance]):
        self._backend, self._recordings = backend, recordings

    def prompt(self, utterance: Utterance) -> Prompt:
        return prompt(utterance, self.of(utterance.speaker))

    @functools.cache  # noqa: B019, for it lives as long as one stage
    def of(self, speaker: str) -> Reference | None:
        """The clip nearest to 10 s, with its codes; None for a family that wants none.

        Raises InputError for a speaker without a clip that is long enough.
        """
        if not self._backend.wants_reference:
            return None
        best = nearest_to_best(self._recordings, speaker, self._backend.shortest_reference_s)
        path = Path(best.audio)
        return Reference(best.text, path, _encoded(self._backend, path))
