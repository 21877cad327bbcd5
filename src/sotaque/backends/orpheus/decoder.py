"""One more token for every row of a batch: Llama's arithmetic over a cache that is allocated once.

transformers reads the prompts. From there on each step has one token a row, and most of its time would go
into calling modules and copying a growing cache; so the same RMSNorm, rotary positions, grouped attention
and gated layer (transformers, models/llama/modeling_llama.py) are written here with few, large operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm


class Decoder:
    """The state of B sequences: reads the prompts when made, then takes one token a row with each step.

    ids (B, P), padded on the left; mask (B, P): 1 where there is a prompt; steps: the most to follow.
    hidden (B, D): the last position's output, from which the next token is chosen.
    """

    def __init__(self, llama: LlamaForCausalLM, ids: torch.Tensor, mask: torch.Tensor, steps: int):
        config = llama.config
        self._embed, self._norm = llama.model.embed_tokens, _norm(llama.model.norm)
        self._layers = [_Layer(layer, config.num_key_value_heads) for layer in llama.model.layers]
        rows, self._length = ids.shape
        self._positions = mask.sum(1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        read = DynamicCache(config=config)
        output = llama.model(
            input_ids=ids,
            attention_mask=mask if (mask == 0).any() else None,
            position_ids=positions,
            past_key_values=read,
            use_cache=True,
        )
        self.hidden = output.last_hidden_state[:, -1]
        width = self._length + steps
        keys = read.layers[0].keys
        # (layers, keys and values, B, heads of keys, width, head size)
        self._cache = keys.new_empty(len(self._layers), 2, rows, keys.shape[1], width, keys.shape[3])
        for stored, layer in zip(self._cache, read.layers, strict=True):
            stored[0, :, :, : self._length], stored[1, :, :, : self._length] = layer.keys, layer.values
        cos, sin = llama.model.rotary_emb(keys, torch.arange(width, device=ids.device)[None])
        half = sin.shape[2] // 2
        self._cos, self._sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1)
        hidden = F.pad(mask == 0, (0, steps))[:, None, None]
        self._mask = torch.zeros_like(hidden, dtype=keys.dtype).masked_fill_(hidden, -torch.inf)
        self._hides = bool(hidden.any())

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Take one token a row, ids (B,), and return the new hidden (B, D)."""
        x = self._embed(ids)
        rotation = self._cos[self._positions, None], self._sin[self._positions, None]
        end = self._length + 1
        mask = self._mask[..., :end] if self._hides else None
        for layer, (keys, values) in zip(self._layers, self._cache, strict=True):
            x = layer(x, rotation, keys, values, end, mask)
        self._length = end
        self._positions = self._positions + 1
        self.hidden = self._norm(x)
        return self.hidden

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache[:, :, : len(rows), :, : self._length] = self._cache[:, :, rows, :, : self._length]
        self._cache = self._cache[:, :, : len(rows)]
        self._positions, self._mask = self._positions[rows], self._mask[rows]
        self._hides = self._hides and bool(self._mask.any())


class _Layer:
    """One layer's weights, joined where they multiply the same input."""

    def __init__(self, layer: nn.Module, heads: int):
        attention, mlp = layer.self_attn, layer.mlp
        self._before, self._between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self._queries_keys_values = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out, self._down, self._activation = attention.o_proj, mlp.down_proj, mlp.act_fn
        self._gate_up = _joined(mlp.gate_proj, mlp.up_proj)
        self._heads, self._size, self._scale = heads, attention.head_dim, attention.scaling

    def __call__(
        self,
        x: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
        end: int,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (B, D) -> (B, D); the new key and value become column end - 1 of keys and
        values (B, heads, width, E)."""
        rows, heads, size = len(x), self._heads, self._size
        made = self._queries_keys_values(self._before(x)).view(rows, -1, size)
        rotated = _rotate(made[:, :-heads], *rotation)
        keys[:, :, end - 1], values[:, :, end - 1] = rotated[:, -heads:], made[:, -heads:]
        # the queries that share a key stand where the positions of one sequence would: nothing is repeated
        queries = rotated[:, :-heads].view(rows, heads, -1, size)
        heard = F.scaled_dot_product_attention(
            queries, keys[:, :, :end], values[:, :, :end], attn_mask=mask, scale=self._scale
        )
        x = x + self._out(heard.reshape(rows, -1))
        gate, up = self._gate_up(self._between(x)).chunk(2, dim=1)
        return x + self._down(self._activation(gate) * up)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions of x (B, heads, E); sin has its first half negated, so that a roll does for a swap."""
    return torch.addcmul(x * cos, x.roll(x.shape[2] // 2, dims=2), sin)


def _norm(norm: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    if type(norm) is not LlamaRMSNorm:
        return norm
    weight, eps = norm.weight, norm.variance_epsilon
    return lambda x: F.rms_norm(x, weight.shape, weight, eps)


def _joined(*layers: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """x -> the outputs of all, side by side: one product where they are plain, else as they compute."""
    if any(type(layer) is not nn.Linear for layer in layers):
        return lambda x: torch.cat([layer(x) for layer in layers], dim=-1)
    weight = torch.cat([layer.weight for layer in layers])
    biases: Sequence[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    bias = torch.cat(list(biases)) if biases else None
    return lambda x: F.linear(x, weight, bias)
