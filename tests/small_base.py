"""A random network of the micro base's kind, so small that a test can look at each of its codes."""

import numpy as np
import torch

from sotaque.micro import base, vocabulary

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip


def make():
    """The network, its layout, and ids and labels of two clips of five and three frames."""
    torch.manual_seed(0)
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    rng = np.random.default_rng(0)
    items = []
    for text, frames in (("rui: bom dia", 5), ("ana: oi", 3)):
        codes = rng.integers(0, 16, (frames, 7))
        text_ids = tokenizer.encode(text, add_special_tokens=False)
        sequence = np.array(layout.sequence(text_ids, codes), np.int32)
        unknown = np.full((frames, 4), base.IGNORED)
        items.append(base.Item(layout.prompt(text_ids), sequence, unknown, np.zeros(frames, np.float32)))
    return base.build(SMALL, layout), layout, *base.collate(items, layout)
