"""Orpheus's token layout, in pure integers: what the network reads and speaks.

A coarse frame is seven tokens, one per slot. With the SNAC codebooks c0 (1 code a frame), c1 (2) and
c2 (4), frame f is  c0[f] c1[2f] c2[4f] c2[4f+1] c1[2f+1] c2[4f+2] c2[4f+3]  in slots 0..6.
The id of a code is first_custom + 10 + slot * codebook_size + code. This module knows nothing of
audio, text or torch. Source: canopyai/Orpheus-TTS, its training notebook and decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sotaque.errors import ModelError

SLOTS = 7
SLOT_OF_CODEBOOK = ((0,), (1, 4), (2, 3, 5, 6))


@dataclass(frozen=True)
class Layout:
    """The ids of one model.

    text_start, text_end: `<|begin_of_text|>` and `<|eot_id|>`. first_custom: `<custom_token_0>`.
    codebook_size: codes per codebook; it is also the width of a slot.
    """

    text_start: int
    text_end: int
    first_custom: int
    codebook_size: int

    @property
    def speech_start(self) -> int:
        return self.first_custom + 1

    @property
    def speech_end(self) -> int:
        return self.first_custom + 2

    @property
    def human_start(self) -> int:
        return self.first_custom + 3

    @property
    def human_end(self) -> int:
        return self.first_custom + 4

    @property
    def ai_start(self) -> int:
        return self.first_custom + 5

    @property
    def ai_end(self) -> int:
        return self.first_custom + 6

    @property
    def pad(self) -> int:
        return self.first_custom + 7

    @property
    def first_audio(self) -> int:
        return self.first_custom + 10

    @property
    def end_audio(self) -> int:
        """One past the last audio id."""
        return self.first_audio + SLOTS * self.codebook_size

    def slot_ids(self, slot: int) -> tuple[int, int]:
        """The half-open range of ids that may stand in a slot."""
        start = self.first_audio + slot * self.codebook_size
        return start, start + self.codebook_size

    def is_text(self, token_id: int) -> bool:
        """False for every id that means something in this layout other than text."""
        custom = self.first_custom <= token_id < self.end_audio
        return not custom and token_id not in (self.text_start, self.text_end)

    def ids_of(self, codes: np.ndarray) -> list[int]:
        """Codes (F, 7) -> F * 7 ids in speaking order; raises ModelError for a code out of range."""
        codes = np.asarray(codes, dtype=np.int64)
        if codes.ndim != 2 or codes.shape[1] != SLOTS:
            raise ModelError(f"codes have shape {codes.shape}, expected (frames, {SLOTS})")
        for frame, slot in np.argwhere((codes < 0) | (codes >= self.codebook_size))[:1]:
            raise ModelError(
                f"frame {frame}, slot {slot}: the code is {codes[frame, slot]}, "
                f"expected 0 to {self.codebook_size - 1}"
            )
        return (codes + self.first_audio + np.arange(SLOTS) * self.codebook_size).reshape(-1).tolist()

    def codes_of(self, ids: Sequence[int]) -> np.ndarray:
        """Audio ids -> codes (F, 7) int16; raises ModelError naming the first id that is out of its slot."""
        if len(ids) % SLOTS:
            raise ModelError(f"{len(ids)} audio ids are not a whole number of frames of {SLOTS}")
        for position, token_id in enumerate(ids):
            start, end = self.slot_ids(position % SLOTS)
            if not start <= token_id < end:
                raise ModelError(
                    f"position {position}: the id is {token_id}, but slot {position % SLOTS} "
                    f"holds {start} to {end - 1}"
                )
        frames = np.asarray(ids, dtype=np.int64).reshape(-1, SLOTS)
        return (frames - self.first_audio - np.arange(SLOTS) * self.codebook_size).astype(np.int16)

    def prompt(self, text_ids: Sequence[int]) -> list[int]:
        """What generation starts from and training masks: everything up to and including speech start."""
        return [
            self.human_start,
            self.text_start,
            *text_ids,
            self.text_end,
            self.human_end,
            self.ai_start,
            self.speech_start,
        ]

    def sequence(self, text_ids: Sequence[int], codes: np.ndarray) -> list[int]:
        """A whole training sequence: prompt, audio ids, speech end, AI end."""
        return [*self.prompt(text_ids), *self.ids_of(codes), self.speech_end, self.ai_end]


def pack(codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """SNAC's codebooks c0 (F,), c1 (2F,), c2 (4F,) -> codes (F, 7) int16 in slot order."""
    lengths = [len(book) for book in codebooks]
    if lengths != [lengths[0] * len(slots) for slots in SLOT_OF_CODEBOOK]:
        raise ModelError(f"codebooks have {lengths} codes, expected one, two and four for each frame")
    codes = np.empty((lengths[0], SLOTS), dtype=np.int16)
    for book, slots in zip(codebooks, SLOT_OF_CODEBOOK, strict=True):
        codes[:, slots] = np.asarray(book).reshape(-1, len(slots))
    return codes


def unpack(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Codes (F, 7) in slot order -> SNAC's codebooks c0 (F,), c1 (2F,), c2 (4F,)."""
    codes = np.asarray(codes)
    return tuple(codes[:, slots].reshape(-1) for slots in SLOT_OF_CODEBOOK)
