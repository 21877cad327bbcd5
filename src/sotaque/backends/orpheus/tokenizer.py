"""Text to ids, by the tokenizer.json of the network's folder; the layout's ids are found by their names."""

from __future__ import annotations

from pathlib import Path

from sotaque.backends import tokenizer_file
from sotaque.backends.orpheus.layout import Layout
from sotaque.errors import InputError

TEXT_START, TEXT_END, FIRST_CUSTOM = "<|begin_of_text|>", "<|eot_id|>", "<custom_token_0>"


class Tokenizer:
    def __init__(self, folder: Path, codebook_size: int):
        self.path = folder / "tokenizer.json"
        names = (TEXT_START, TEXT_END, FIRST_CUSTOM)
        self.tokens, ids = tokenizer_file.read(self.path, names, "Orpheus")
        self.layout = Layout(*ids, codebook_size)

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text, without any control token.

        Raises InputError when the text spells a control token: it would break the sequence.
        """
        ids = self.tokens.encode(text, add_special_tokens=False).ids
        for token_id in ids:
            if not self.layout.is_text(token_id):
                name = self.tokens.id_to_token(token_id)
                raise InputError(f"the text {text!r} spells the control token {name}; remove it")
        return ids
