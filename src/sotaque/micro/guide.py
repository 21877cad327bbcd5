"""Guided attention: one head is told where in the text the voice is, until the model reads by itself.

A text-first language model finds out late that text and speech run in parallel. espeak-ng reads at a steady
pace, so the place is known roughly: as far in the text as in the speech. The loss is on the attention of
head 0 of one layer; the network is an ordinary Llama before and after.
"""

import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

LAYER = 2
_MARGIN_TOKENS = 5  # of silence at both ends of a clip: about 50 ms


def expected_places(ids: torch.Tensor, labels: torch.Tensor, tag: int, ends: tuple[int, int]) -> torch.Tensor:
    """For each position (B, L) the text position that is being spoken next; -1 where nothing is.

    tag: tokens from the start of the prompt to the first letter; ends: ids of text end and speech end.
    """
    length = ids.shape[1]
    position = torch.arange(length, device=ids.device)[None]
    text_end = (ids == ends[0]).int().argmax(1, keepdim=True)
    speech_end = (ids == ends[1]).int().argmax(1, keepdim=True)
    first = (labels >= 0).int().argmax(1, keepdim=True)
    share = (position + 1 - first - _MARGIN_TOKENS) / (speech_end - first - 2 * _MARGIN_TOKENS).clamp_min(1)
    place = tag + share.clamp(0, 1) * (text_end - tag - 1)
    spoken = (position + 1 >= first) & (position + 1 < speech_end)
    return torch.where(spoken, place, torch.full_like(place, -1.0))


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
