"""Text to ids, by the tokenizer.json of the network's folder; the layout's ids are found by their names."""

from __future__ import annotations

from pathlib import Path

from sotaque.backends.orpheus.layout import Layout
from sotaque.errors import InputError, ModelError

TEXT_START, TEXT_END, FIRST_CUSTOM = "<|begin_of_text|>", "<|eot_id|>", "<custom_token_0>"


class Tokenizer:
    def __init__(self, folder: Path, codebook_size: int):
        self.path = folder / "tokenizer.json"
        self.tokens = _load(self.path)
        names = (TEXT_START, TEXT_END, FIRST_CUSTOM)
        ids = [self.tokens.token_to_id(name) for name in names]
        for name, token_id in zip(names, ids, strict=True):
            if token_id is None:
                raise ModelError(f"{self.path}: there is no token {name}; this is not Orpheus's tokenizer")
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


def _load(path: Path):
    from tokenizers import Tokenizer as Tokens

    if not path.exists():
        raise ModelError(f"{path}: there is no such file; put the network's tokenizer.json there")
    try:
        tokens = Tokens.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"{path}: not a tokenizer ({error}); fetch the model again") from None
    tokens.no_padding()
    tokens.no_truncation()
    return tokens
