"""One more token for every row of a batch: Llama's arithmetic over a cache that is allocated once.

Each step has one token a row, and most of its time would go into calling modules and copying a growing
cache; so the same RMSNorm, rotary positions, grouped attention
and gated layer (transformers, models/llama/modeling_llama.py) are written here with few, large operations.

Llama turns the two halves of a head against each other. Here the two numbers that turn together stand side by
side, so that a rotation is one complex product; queries and keys are both in this order, and so agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sotaque.backends.orpheus.attention import Fused, Looped, attention
from sotaque.backends.orpheus.products import joined


class Decoder:
    """The state of B sequences: reads the prompts when made, then takes one token a row with each step.

    prompts: B of ids, of any lengths; steps: the most tokens to follow.
    hidden (B, D): the last position's output, from which the next token is chosen.
    """

    def __init__(self, llama: LlamaForCausalLM, prompts: Sequence[Sequence[int]], steps: int):
        self._embed, config, device = llama.model.embed_tokens, llama.config, llama.device
        self._norm = _norm(llama.model.norm)
        self._layers = [_Layer(layer) for layer in llama.model.layers]
        self._dtype = _heard_in(llama.dtype, device)
        lengths = [len(prompt) for prompt in prompts]
        self._length, self._positions = max(lengths), torch.tensor(lengths, device=device)
        width = self._length + steps
        # (layers, B, heads of keys and then of values, width, E); prompts end where the first token follows
        shape = len(self._layers), len(prompts), 2 * config.num_key_value_heads, width, config.head_dim
        self._cache = torch.zeros(shape, dtype=self._dtype, device=device)
        self._turns = _turns(llama.model.rotary_emb, self._positions, self._dtype, width)
        self._attend = attention(self._length - self._positions, width, self._dtype)
        self.hidden = self._read(prompts)

    def _read(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """The prompts one after another, without padding; each attends to itself."""
        ids = torch.tensor([token for prompt in prompts for token in prompt], device=self._cache.device)
        turns = torch.cat([self._turns[: len(prompt)] for prompt in prompts])[:, None]
        ends = list(itertools.accumulate(map(len, prompts)))
        x = self._embed(ids)
        for layer, cache in zip(self._layers, self._cache[..., : self._length, :], strict=True):
            x = layer.read(x, turns, [0, *ends], cache)
        return self._norm(x[torch.tensor(ends, device=x.device) - 1])

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Take one token a row, ids (B,), and return the new hidden (B, D)."""
        x, turns, end = self._embed(ids), self._turns[self._positions, None], self._length + 1
        for layer, cache in zip(self._layers, self._cache, strict=True):
            x = layer(x, turns, cache, end, self._attend)
        self._length, self._positions = end, self._positions + 1
        self.hidden = self._norm(x)
        return self.hidden

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache[:, : len(rows), :, : self._length] = self._cache[:, rows, :, : self._length]
        self._cache = self._cache[:, : len(rows)]
        self._positions = self._positions[rows]
        self._attend.keep(rows)


class _Layer:
    """One layer's weights, joined where they multiply the same input."""

    def __init__(self, layer: nn.Module):
        attention, mlp = layer.self_attn, layer.mlp
        self._size, self._scale = attention.head_dim, attention.scaling
        self._heads = attention.config.num_key_value_heads
        heads = attention.config.num_attention_heads + self._heads
        order = torch.arange((heads + self._heads) * self._size).view(-1, self._size)
        order[:heads] = order[:heads, _side_by_side(self._size)]
        self._queries_keys_values = joined(
            attention.q_proj, attention.k_proj, attention.v_proj, order=order.flatten()
        )
        self._gate_up, self._activation = joined(mlp.gate_proj, mlp.up_proj), mlp.act_fn
        self._out, self._down = joined(attention.o_proj), joined(mlp.down_proj)
        self._before, self._between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)

    def __call__(
        self, x: torch.Tensor, turns: torch.Tensor, cache: torch.Tensor, end: int, attend: Fused | Looped
    ) -> torch.Tensor:
        """x (B, D) -> (B, D); new keys and values become the last of `end` in cache (B, 2 heads, W, E)."""
        queries, keys_values = self._project(x, turns, cache.dtype)
        cache[:, :, end - 1] = keys_values
        queries = queries.unflatten(1, (self._heads, -1))
        return self._finish(x, attend(queries, cache, end, self._scale).reshape(len(x), -1))

    def read(
        self, x: torch.Tensor, turns: torch.Tensor, bounds: Sequence[int], cache: torch.Tensor
    ) -> torch.Tensor:
        """x (N, D) -> (N, D) for sequences between `bounds`; keys and values go to the right of each row of
        cache (B, 2 heads, width, E)."""
        queries, keys_values = self._project(x, turns, cache.dtype)
        heard = torch.empty_like(queries)
        for stored, (start, end) in zip(cache, itertools.pairwise(bounds), strict=True):
            part = keys_values[start:end].transpose(0, 1)
            stored[:, start - end :] = part
            heard[start:end] = F.scaled_dot_product_attention(
                queries[start:end].transpose(0, 1)[None],
                part[None, : self._heads],
                part[None, self._heads :],
                is_causal=True,
                scale=self._scale,
                enable_gqa=True,
            )[0].transpose(0, 1)
        return self._finish(x, heard.flatten(1))

    def _project(
        self, x: torch.Tensor, turns: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (N, heads, E), and keys with values after them (N, 2 heads, E); turns (N, 1, E / 2)."""
        made = self._queries_keys_values(self._before(x)).to(dtype).view(len(x), -1, self._size)
        _turn(made[:, : -self._heads], turns)
        return made[:, : -2 * self._heads], made[:, -2 * self._heads :]

    def _finish(self, x: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        x = self._out.added(heard.to(x.dtype), x)
        gate, up = self._gate_up(self._between(x)).chunk(2, dim=1)
        return self._down.added(self._activation(gate) * up, x)


def _heard_in(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What attention computes in: on a CPU, where bfloat16 would be no quicker, float32 or better."""
    return torch.promote_types(dtype, torch.float32) if device.type == "cpu" else dtype


def _side_by_side(size: int) -> torch.Tensor:
    """0, E/2, 1, E/2 + 1, ...: where the numbers of a head stood before, each beside its partner."""
    return torch.arange(size).view(2, -1).T.flatten()


def _turns(rotary: nn.Module, like: torch.Tensor, dtype: torch.dtype, width: int) -> torch.Tensor:
    """(width, E / 2) complex: by how much each pair is turned at each position."""
    wide = torch.empty(0, dtype=torch.promote_types(dtype, torch.float32), device=like.device)
    cos, sin = rotary(wide, torch.arange(width, device=like.device)[None])
    return torch.complex(cos, sin)[0, :, : cos.shape[2] // 2]


def _turn(x: torch.Tensor, turns: torch.Tensor) -> None:
    """Rotary positions of x (N, heads, E), in place; turns (N, 1, E / 2)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    torch.view_as_complex(wide.unflatten(2, (-1, 2))).mul_(turns)
    if wide is not x:
        x.copy_(wide)


def _norm(norm: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    if type(norm) is not LlamaRMSNorm:
        return norm
    weight, eps = norm.weight, norm.variance_epsilon
    if weight.device.type != "cpu":
        return lambda x: F.rms_norm(x, weight.shape, weight, eps)
    # x beside -x has the mean 0 and the variance mean(x^2), and this norm is one operation where that is nine
    width, both = len(weight), torch.cat([weight, weight])
    return lambda x: F.layer_norm(torch.cat([x, -x], dim=1), both.shape, both, None, eps)[:, :width]
