"""The micro base's tokenizer: letters as text tokens, then special tokens in Orpheus's order.

Ids: 256 bytes, one merge for each accented letter, begin of text, end of turn, and to the end of the
vocabulary `<custom_token_0>` to `<custom_token_{9 + 7 * codebook_size}>`.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from sotaque.backends.orpheus.layout import SLOTS, Layout

LETTERS = "áàâãéêíóôõúçñüÁÀÂÉÊÍÓÔÚÇ¿¡"
TEXT_START, TEXT_END = "<|begin_of_text|>", "<|eot_id|>"


def byte_characters() -> list[str]:
    """The printable stand-in of each byte in byte-level BPE, by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    assert set(table.values()) == set(ByteLevel.alphabet())  # noqa: S101
    return [table[byte] for byte in range(256)]


def build(codebook_size: int) -> PreTrainedTokenizerFast:
    """A whole tokenizer; `layout` gives the ids that matter."""
    characters = byte_characters()
    merges = [tuple(characters[byte] for byte in letter.encode("utf-8")) for letter in LETTERS]
    vocabulary = {character: byte for byte, character in enumerate(characters)}
    vocabulary |= {"".join(pair): 256 + index for index, pair in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    custom = [f"<custom_token_{number}>" for number in range(10 + SLOTS * codebook_size)]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in (TEXT_START, TEXT_END, *custom)]
    )
    start = (TEXT_START, tokenizer.token_to_id(TEXT_START))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{TEXT_START} $A", special_tokens=[start]
    )
    roles = {"bos_token": TEXT_START, "eos_token": TEXT_END, "pad_token": custom[7]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def layout(tokenizer: PreTrainedTokenizerFast) -> Layout:
    first = tokenizer.convert_tokens_to_ids("<custom_token_0>")
    return Layout(
        text_start=tokenizer.convert_tokens_to_ids(TEXT_START),
        text_end=tokenizer.convert_tokens_to_ids(TEXT_END),
        first_custom=first,
        codebook_size=(len(tokenizer) - first - 10) // SLOTS,
    )


def save(codebook_size: int, folder: Path) -> None:
    """tokenizer.json and its configuration, without the white space that thousands of tokens would cost."""
    build(codebook_size).save_pretrained(folder)
    path = folder / "tokenizer.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(tree, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
