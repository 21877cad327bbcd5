"""Text and codes to columns, by upstream's own tokenizer and ContentSequence; the ids are found by name.

One sequence is `<|interleave|>` and, for each utterance, `<|speaker:0|>` text codes `<|im_end|>`. Training
and speaking share it: a reference comes first, whole, and the prompt ends where the codes begin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sotaque import files
from sotaque.backends import upstream
from sotaque.backends.openaudio.layout import Layout
from sotaque.errors import InputError, ModelError

RANKS, SPECIAL = "tokenizer.tiktoken", "special_tokens.json"
SPEAKER = 0

Said = tuple[str, np.ndarray]  # a text and its codes (F, K)


class Tokenizer:
    """sizes: codes of the semantic codebook, codes of a residual one, number of codebooks."""

    def __init__(self, folder: Path, sizes: tuple[int, int, int]):
        self.path = folder / SPECIAL
        self.fish = load(folder)
        semantic_size, residual_size, n_codebooks = sizes
        self._parts = upstream.load("fish_speech.content_sequence")
        self.layout = Layout(
            semantic_begin=_semantic_begin(self.fish, self.path, semantic_size),
            semantic_size=semantic_size,
            residual_size=residual_size,
            n_codebooks=n_codebooks,
            end=self._id("<|im_end|>"),
            pad=self._id("<|pad|>"),
        )
        self._id("<|interleave|>")

    @property
    def vocabulary(self) -> int:
        """One past the largest id."""
        return self.fish.vocab_size + self.fish.num_special_tokens

    def prompt(self, text: str, reference: Said | None) -> np.ndarray:
        """Columns (1 + K, L): what speaking starts from."""
        return self._columns(text, None, reference)

    def sequence(self, text: str, codes: np.ndarray, reference: Said | None) -> np.ndarray:
        """Columns (1 + K, L): a prompt, its codes and the end."""
        return self._columns(text, codes, reference)

    def _columns(self, text: str, codes: np.ndarray | None, reference: Said | None) -> np.ndarray:
        made = self._parts.ContentSequence(modality="interleave")
        if reference is not None:
            made.append([self._text(reference[0]), self._codes(reference[1])], add_end=True, speaker=SPEAKER)
        spoken = [self._text(text)] if codes is None else [self._text(text), self._codes(codes)]
        made.append(spoken, add_end=codes is not None, speaker=SPEAKER)
        columns, _, _ = made.encode_for_inference(self.fish, self.layout.n_codebooks)
        return columns.numpy()

    def _codes(self, codes: np.ndarray):
        return self._parts.VQPart(codes=torch.from_numpy(self.layout.checked(codes).T.copy()))

    def _text(self, text: str):
        """Raises InputError when the text spells a control token: it would break the sequence."""
        ids = self.fish.encode(text)
        for token_id in ids:
            if token_id >= self.fish.vocab_size:
                name = self.fish.decode([token_id])
                raise InputError(f"the text {text!r} spells the control token {name}; remove it")
        return self._parts.TextPart(tokens=ids)

    def _id(self, name: str) -> int:
        if name not in self.fish.all_special_tokens_with_ids:
            raise ModelError(f"{self.path}: there is no token {name}; expected OpenAudio S1-mini's file")
        return self.fish.get_token_id(name)


def load(folder: Path):
    """Upstream's FishTokenizer; raises ModelError for a missing file, or two that do not belong together.

    Upstream takes a missing list for one of 1024 semantic tokens, and numbers a list anew without a look at
    the numbers that stand in it.
    """
    for name in (RANKS, SPECIAL):
        if not (folder / name).is_file():
            there = ", ".join(sorted(p.name for p in folder.glob("*"))) or "nothing"
            raise ModelError(
                f"{folder / name}: there is no such file; found: {there}; expected: config.json, model.pth, "
                f"{RANKS} and {SPECIAL} of OpenAudio S1-mini (S2, with tokenizer.json, is another generation)"
            )
    fish_tokenizer = upstream.load("fish_speech.tokenizer").FishTokenizer
    try:
        listed = files.read_json(folder / SPECIAL)
        fish = fish_tokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{folder}: {RANKS} and {SPECIAL} are no Fish tokenizer ({type(error).__name__}: {error}); "
            "fetch the model again"
        ) from None
    for name, token_id in listed.items() if isinstance(listed, dict) else ():
        if fish.get_token_id(name) != token_id:
            raise ModelError(
                f"{folder / SPECIAL}: {name} is {token_id}, but after the {fish.vocab_size} tokens of "
                f"{RANKS} it is {fish.get_token_id(name)}; the two files do not belong together"
            )
    return fish


def _semantic_begin(fish, path: Path, size: int) -> int:
    begin, ids = fish.semantic_begin_id, fish.semantic_id_to_token_id
    if ids != {code: begin + code for code in range(size)}:
        raise ModelError(
            f"{path}: it lists {len(ids)} semantic tokens, expected {size} in a row, one for each code of "
            "the codec; this is the list of another generation (Fish Speech 1.5 has 1024)"
        )
    return begin
