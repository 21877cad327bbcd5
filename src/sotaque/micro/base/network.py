"""The network, and the folder that it is shipped in."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sotaque.backends.orpheus.layout import Layout
from sotaque.micro import vocabulary


def build(model: dict, layout: Layout) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=layout.end_audio, bos_token_id=layout.text_start, eos_token_id=layout.speech_end,
        pad_token_id=layout.pad, attn_implementation="sdpa", **model,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def export(network: LlamaForCausalLM, codebook_size: int, folder: Path) -> None:
    """Hugging Face's layout: config, safetensors in bf16, tokenizer."""
    network.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    vocabulary.save(codebook_size, folder)
