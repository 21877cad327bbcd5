"""Guided attention: one head is told where in the text the voice is, until the model reads by itself.

A text-first language model finds out late that text and speech run in parallel. espeak-ng says which phoneme
is spoken when, and a letter is about a phoneme: as many of the letters are read as phonemes are spoken. The
loss is on the attention of head 0 of one layer; the network is an ordinary Llama before and after.
"""

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from sotaque.micro.codec import STEPS
from sotaque.micro.speech import SILENCE

LAYER = 2


def spoken_shares(phonemes: list[str]) -> np.ndarray:
    """The share of a clip's phonemes that are spoken up to the middle of each frame. (F * STEPS,) -> (F,)"""
    begins = [a != b and b != SILENCE for a, b in zip([SILENCE, *phonemes], phonemes, strict=False)]
    begun = np.cumsum(begins)
    return (np.maximum(begun[STEPS // 2 :: STEPS] - 0.5, 0) / max(1, begun[-1])).astype(np.float32)


def expected_places(ids: torch.Tensor, shares: torch.Tensor, tag: int, text_end: int) -> torch.Tensor:
    """For each position (B, L) the text position that is being spoken next; -1 where nothing is.

    shares (B, L): of the text that is spoken by the next token, -1 where it is none; tag: tokens from the
    start of the prompt to the first letter; text_end: the id after the last.
    """
    end = (ids == text_end).int().argmax(1, keepdim=True)
    return torch.where(shares >= 0, tag + shares * (end - tag - 1), shares)


def attention_loss(
    network: LlamaForCausalLM, entering: torch.Tensor, places: torch.Tensor, spread: float
) -> torch.Tensor:
    """-log of the attention that falls near the expected place. entering (B, L, D): states before LAYER."""
    layer = network.model.layers[LAYER]
    attention, width = layer.self_attn, network.config.head_dim
    x = layer.input_layernorm(entering)
    query = F.linear(x, attention.q_proj.weight[:width])[:, None]
    key = F.linear(x, attention.k_proj.weight[:width])[:, None]
    position = torch.arange(x.shape[1], device=x.device)
    cosine, sine = network.model.rotary_emb(x, position[None])
    query, key = apply_rotary_pos_emb(query, key, cosine, sine)
    scores = (query @ key.transpose(2, 3))[:, 0].float() * width**-0.5
    scores = scores.masked_fill(position[None, :] > position[:, None], float("-inf"))
    near = torch.exp(-(((position[None, None] - places[..., None]) / spread) ** 2) / 2)
    mass = (scores.softmax(-1) * near).sum(-1)
    return -(mass[places >= 0] + 1e-4).log().mean()
