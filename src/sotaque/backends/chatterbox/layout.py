"""Chatterbox's token layout, in pure integers: what T3 reads and speaks.

A sequence is 34 vectors of conditioning (speaker 1, prompt 32, emotion 1), then `255 text 0`, then
`6561 6561 codes 6562`. Text and speech have embeddings, heads and learned positions of their own.

Speech start stands there twice, both at position 0: T3.inference puts it behind the text and once more before
what it speaks (mtl_tts.py and t3.py of chatterbox-tts 0.1.7). The model learns what it will be given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sotaque.errors import InputError, ModelError

TEXT_START, TEXT_STOP = 255, 0
CODES = 6561  # of the S3 tokenizer: 0 to 6560
SPEECH_START, SPEECH_STOP = 6561, 6562
TEXT_VOCABULARY, SPEECH_VOCABULARY = 2454, 8194
CONDITIONING = 34
STARTS = 2
PROMPT_CODES = 150  # of the reference, at most
MAX_TEXT, MAX_CODES = 2048, 4096
MAX_GENERATED = 1000  # codes, 40 s: what mtl_tts.py lets T3 generate at most
FRAME_RATE_HZ = 25


def text_row(ids: Sequence[int]) -> list[int]:
    """Text ids between start and stop; raises InputError when there are none, or more than positions."""
    if not 0 < len(ids) <= MAX_TEXT:
        raise InputError(f"the text has {len(ids)} tokens, expected 1 to {MAX_TEXT}")
    return [TEXT_START, *ids, TEXT_STOP]


def codes_row(codes: np.ndarray) -> list[int]:
    """Codes (F, 1) -> F ids; raises ModelError for a code out of range, InputError for too many."""
    codes = np.asarray(codes, dtype=np.int64)
    if codes.ndim != 2 or codes.shape[1] != 1:
        raise ModelError(f"codes have shape {codes.shape}, expected (frames, 1)")
    for frame in np.flatnonzero((codes < 0) | (codes >= CODES))[:1]:
        raise ModelError(f"frame {frame}: the code is {codes[frame, 0]}, expected 0 to {CODES - 1}")
    if len(codes) > MAX_CODES:
        raise InputError(f"the clip has {len(codes)} codes, and T3 has positions for {MAX_CODES}")
    return codes[:, 0].tolist()


def speech_row(codes: Sequence[int]) -> tuple[list[int], list[int]]:
    """(inputs, labels) of the speech part: the second start learns the first code, the last code the stop."""
    return [SPEECH_START] * STARTS + list(codes), [*codes, SPEECH_STOP]


def speech_positions(length: int) -> list[int]:
    """The learned position of each input of the speech part: 0 0 1 2 ..."""
    return [max(0, i - (STARTS - 1)) for i in range(length)]


def spoken(ids: Sequence[int]) -> tuple[np.ndarray, bool]:
    """What T3 said -> codes (F, 1) int16, and whether it ended by itself.

    Ids over 6560 are no sound: the S3Gen of the multilingual path is given them, and fails.
    """
    stopped = SPEECH_STOP in ids
    heard = ids[: list(ids).index(SPEECH_STOP)] if stopped else ids
    kept = np.array([i for i in heard if 0 <= i < CODES], dtype=np.int16)
    return kept.reshape(-1, 1), stopped
