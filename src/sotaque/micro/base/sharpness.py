"""A bound on attention scores. Muon's steps are of one size, so that queries can grow without end: scores of
thousands were seen, and softmax then learns nothing more. A head beyond the bound has its queries scaled
down (QK-clip of Kimi K2, arXiv:2507.20534, on queries alone, since keys are shared by heads).
"""

import torch
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


@torch.no_grad()
def highest_scores(network: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Of each layer and head on ids (B, L), by size: (layers, heads)"""
    states = network.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    position = torch.arange(ids.shape[1], device=ids.device)
    cosine, sine = network.model.rotary_emb(states[0], position[None])
    past = position[None, :] <= position[:, None]
    highest = []
    for layer, state in zip(network.model.layers, states, strict=False):
        attention, x = layer.self_attn, layer.input_layernorm(state)
        query, key = (
            made.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for made in (attention.q_proj(x), attention.k_proj(x))
        )
        query, key = apply_rotary_pos_emb(query, key, cosine, sine)
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        scores = (query @ key.transpose(2, 3) * attention.scaling).masked_fill(~past, 0)
        highest.append(scores.abs().amax((0, 2, 3)))
    return torch.stack(highest)


@torch.no_grad()
def bound(network: LlamaForCausalLM, ids: torch.Tensor, limit: float) -> float:
    """Scale queries down where a head's scores on ids (B, L) pass `limit`; the highest score before."""
    highest = highest_scores(network, ids)
    for layer, scores in zip(network.model.layers, highest, strict=True):
        by_head = layer.self_attn.q_proj.weight.view(len(scores), -1, layer.self_attn.q_proj.in_features)
        by_head.mul_((limit / scores.clamp_min(limit))[:, None, None])
    return highest.max().item()
