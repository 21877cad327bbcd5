"""The token arithmetic of CSM: turns of text and frames, as pure integers.

A turn is `begin` [speaker]text `end`, one `audio` token for each frame of codes, and `audio_end`. Only its
text tokens are read as tokens: at an audio position the network reads the K codes of the frame, at
`audio_end` a frame of zeros, which is also what ends the speech when it is spoken. Sources: the chat template
of sesame/csm-1b and `_merge_input_ids_with_input_values` of transformers' CSM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sotaque.errors import ModelError


@dataclass(frozen=True)
class Row:
    """A sequence of L positions.

    ids (L,): tokens. frames (L, K): the codes that are read where `audio` (L,) is true, zeros elsewhere.
    """

    ids: np.ndarray
    frames: np.ndarray
    audio: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Row) -> Row:
        return Row(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.frames, other.frames]),
            np.concatenate([self.audio, other.audio]),
        )


@dataclass(frozen=True)
class Layout:
    """codebook_size: how many codes the codec has; codes (F, K) lie below it."""

    begin: int
    end: int
    audio: int
    audio_end: int
    n_codebooks: int
    codebook_size: int

    def text(self, text_ids: Sequence[int]) -> Row:
        """What stands before the frames of a turn: generation starts from it."""
        ids = np.array([self.begin, *text_ids, self.end], dtype=np.int64)
        frames = np.zeros((len(ids), self.n_codebooks), dtype=np.int64)
        return Row(ids, frames, np.zeros(len(ids), dtype=bool))

    def speech(self, codes: np.ndarray) -> Row:
        """Frames (F, K) and their end. Raises ModelError for codes that are none of the codec's."""
        if codes.ndim != 2 or codes.shape[1] != self.n_codebooks:
            raise ModelError(f"codes have shape {codes.shape}, expected (F, {self.n_codebooks})")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.codebook_size:
            raise ModelError(
                f"codes lie in {codes.min()} to {codes.max()}, expected 0 to {self.codebook_size - 1}"
            )
        ids = np.array([self.audio] * len(codes) + [self.audio_end], dtype=np.int64)
        ending = np.zeros((1, self.n_codebooks), dtype=np.int64)
        return Row(ids, np.concatenate([codes.astype(np.int64), ending]), np.ones(len(ids), dtype=bool))
