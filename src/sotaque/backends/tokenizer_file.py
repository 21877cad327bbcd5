"""Reading a tokenizer.json, as every family over a Hugging Face tokenizer does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sotaque.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read(path: Path, names: tuple[str, ...], family: str) -> tuple[Tokenizer, list[int]]:
    """The tokenizer, without padding or truncation, and the ids of its control tokens `names`.

    Raises ModelError when the file is missing or damaged, or knows no token of a name.
    """
    from tokenizers import Tokenizer

    if not path.exists():
        raise ModelError(f"{path}: there is no such file; put the network's tokenizer.json there")
    try:
        tokens = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"{path}: not a tokenizer ({error}); fetch the model again") from None
    tokens.no_padding()
    tokens.no_truncation()
    ids = [tokens.token_to_id(name) for name in names]
    for name, token_id in zip(names, ids, strict=True):
        if token_id is None:
            raise ModelError(f"{path}: there is no token {name}; this is not {family}'s tokenizer")
    return tokens, ids
