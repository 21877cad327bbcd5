"""Characters against the model's tokenizer: which have a token of their own, and which have none."""

from __future__ import annotations

from pathlib import Path

PIECE, BYTES, UNKNOWN = "token", "bytes", "unknown"
_WORD_START = "▁"


class Alphabet:
    """What a Hugging Face tokenizer.json makes of single characters."""

    def __init__(self, path: Path):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self._known: dict[str, str] = {}

    @classmethod
    def of(cls, base: Path) -> Alphabet | None:
        """That of the network in a base folder; None where it has no tokenizer.json."""
        path = base / "network" / "tokenizer.json"
        return cls(path) if path.exists() else None

    def kind(self, character: str) -> str:
        """`token`: one of its own; `bytes`: several; `unknown`: none, so that the model never sees it."""
        if character not in self._known:
            self._known[character] = self._kind(character)
        return self._known[character]

    def unknown(self, text: str) -> int:
        """How many characters of a text the tokenizer cannot write."""
        return sum(self.kind(character) == UNKNOWN for character in text)

    def _kind(self, character: str) -> str:
        encoding = self._tokenizer.encode(character, add_special_tokens=False)
        tokens = [t for t in encoding.tokens if t != _WORD_START or character == _WORD_START]
        missing = getattr(self._tokenizer.model, "unk_token", None)
        if not tokens or missing in tokens:
            return UNKNOWN if character.strip() else PIECE
        return PIECE if len(tokens) == 1 else BYTES
