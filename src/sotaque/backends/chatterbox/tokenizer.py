"""Text to ids, by the grapheme tokenizer of the network's folder, as ChatterboxMultilingualTTS reads it.

MTLTokenizer itself asks the hub for a Chinese table whenever it is made; languages that need a dictionary
are refused here instead.
"""

from __future__ import annotations

import re
from pathlib import Path

from sotaque.backends import tokenizer_file, upstream
from sotaque.backends.chatterbox.layout import TEXT_START, TEXT_STOP, TEXT_VOCABULARY
from sotaque.backends.families import FAMILIES
from sotaque.errors import InputError, ModelError

NAME = "grapheme_mtl_merged_expanded_v1.json"
SPACE, UNKNOWN = "[SPACE]", "[UNK]"
WITH_DICTIONARY = ("he", "ja", "ko", "ru", "zh")


class Tokenizer:
    """Raises ModelError when the file is missing, or is of another Chatterbox."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        names = ("[START]", "[STOP]")
        self.tokens, ids = tokenizer_file.read(self.path, names, "Chatterbox")
        if ids != [TEXT_START, TEXT_STOP]:
            raise ModelError(
                f"{self.path}: {' and '.join(names)} are {ids}, expected {[TEXT_START, TEXT_STOP]}; "
                f"put the {NAME} of ResembleAI/chatterbox there"
            )
        vocabulary = self.tokens.get_vocab()
        highest = max(vocabulary.values())
        if highest >= TEXT_VOCABULARY:
            raise ModelError(
                f"{self.path}: its ids go up to {highest}, expected at most {TEXT_VOCABULARY - 1}, "
                "the vocabulary of the multilingual T3"
            )
        self.languages = sorted(
            match[1] for name in vocabulary if (match := re.fullmatch(r"\[([a-z]{2})\]", name))
        )
        if not self.languages:
            raise ModelError(
                f"{self.path}: it has no language tag such as [es], so it is not of the multilingual model; "
                f"put the {NAME} of ResembleAI/chatterbox there"
            )
        kept = {SPACE, UNKNOWN}
        self._control = {i: n for n, i in vocabulary.items() if re.fullmatch(r"\[.+\]", n) and n not in kept}

    def tag_of(self, language: str) -> str:
        """The two letters of a language: pt-br is read as pt, for there are no tags of regions.

        Raises InputError for a language that the model does not speak, or needs a dictionary.
        """
        tag = re.split("[-_]", language.lower())[0]
        if tag and (tag not in self.languages or tag in WITH_DICTIONARY):
            there = ", ".join(x for x in self.languages if x not in WITH_DICTIONARY)
            raise InputError(f"the language is {language!r}, spoken here: {there}")
        return tag

    def text_ids(self, text: str, language: str) -> list[int]:
        """The ids of a text with its language tag; none for the language "".

        Raises InputError for an empty text, and for one that spells a control token.
        """
        if not text.strip():
            raise InputError("the text is empty")
        tag = self.tag_of(language)
        plain = upstream.load("chatterbox.mtl_tts").punc_norm(text)
        written = FAMILIES["chatterbox"].text_form(tag).apply(plain, tag)
        ids = self._encode(written)
        for token_id in ids[1 if tag else 0 :]:
            if token_id in self._control:
                name = self._control[token_id]
                raise InputError(f"the text {text!r} spells the control token {name}; remove it")
        return ids

    def _encode(self, text: str) -> list[int]:
        return self.tokens.encode(text.replace(" ", SPACE)).ids
