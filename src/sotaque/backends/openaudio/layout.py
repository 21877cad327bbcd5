"""OpenAudio's columns, in pure integers: what the network reads and speaks at one position.

A column has 1 + K rows. At a frame of speech row 0 is the main token, semantic_begin + code 0, and rows 1
to K are the K codes of the frame, the first among them; at a position of text rows 1 to K are 0. The
semantic codebook is larger than the residual ones. This module knows nothing of audio, text or torch.
Source: fish_speech/content_sequence.py, encode_for_inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sotaque.errors import ModelError


@dataclass(frozen=True)
class Layout:
    """The ids of one model.

    semantic_begin: `<|semantic:0|>`; the others follow it. semantic_size, residual_size: codes of the first
    codebook and of each other one. n_codebooks: K. end: `<|im_end|>`. pad: `<|pad|>`.
    """

    semantic_begin: int
    semantic_size: int
    residual_size: int
    n_codebooks: int
    end: int
    pad: int

    @property
    def semantic_end(self) -> int:
        """One past the last semantic id."""
        return self.semantic_begin + self.semantic_size

    def size(self, codebook: int) -> int:
        return self.residual_size if codebook else self.semantic_size

    def checked(self, codes: np.ndarray) -> np.ndarray:
        """Codes (F, K) as int64; raises ModelError for another shape or for the first code out of range."""
        codes = np.asarray(codes, dtype=np.int64)
        if codes.ndim != 2 or codes.shape[1] != self.n_codebooks:
            raise ModelError(f"codes have shape {codes.shape}, expected (frames, {self.n_codebooks})")
        sizes = np.array([self.size(codebook) for codebook in range(self.n_codebooks)])
        for frame, codebook in np.argwhere((codes < 0) | (codes >= sizes))[:1]:
            raise ModelError(
                f"frame {frame}, codebook {codebook}: the code is {codes[frame, codebook]}, "
                f"expected 0 to {sizes[codebook] - 1}"
            )
        return codes

    def columns(self, codes: np.ndarray) -> np.ndarray:
        """Codes (F, K) -> columns (1 + K, F)."""
        codes = self.checked(codes)
        return np.concatenate([codes[:, :1] + self.semantic_begin, codes], axis=1).T

    def codes_of(self, columns: np.ndarray) -> np.ndarray:
        """Columns (1 + K, F) -> codes (F, K) int16.

        Raises ModelError for the first frame whose main token is not that of its codes.
        """
        codes = self.checked(np.asarray(columns)[1:].T)
        for frame in np.flatnonzero(columns[0] != codes[:, 0] + self.semantic_begin)[:1]:
            raise ModelError(
                f"frame {frame}: the main token is {columns[0, frame]}, but code {codes[frame, 0]} "
                f"has the token {codes[frame, 0] + self.semantic_begin}"
            )
        return codes.astype(np.int16)
