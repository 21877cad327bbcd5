"""One more token for every row of a batch: Llama's arithmetic over a cache that is allocated once.

Each step has one token a row, and most of its time would go into calling modules and copying a growing
cache; so the same RMSNorm, rotary positions, grouped attention and gated layer (transformers,
models/llama/modeling_llama.py) are written here with few, large operations, and on one thread of a CPU as a
single one (step.py).

Llama turns the two halves of a head against each other. Here the two numbers that turn together stand side by
side, so that a rotation is one complex product; queries and keys are both in this order, and so agree.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sotaque.backends.orpheus.attention import Attention, turned
from sotaque.backends.orpheus.products import joined
from sotaque.backends.orpheus.step import Step, serves


class Decoder:
    """The state of B sequences: reads the prompts when made, then takes one token a row with each step.

    prompts: B of ids, of any lengths; steps: the most tokens to follow.
    hidden (B, D): the last position's output, from which the next token is chosen.
    """

    def __init__(self, llama: LlamaForCausalLM, prompts: Sequence[Sequence[int]], steps: int):
        self._embed, device = llama.model.embed_tokens, llama.device
        self._norm = _norm(llama.model.norm)
        layers = [_Layer(layer) for layer in llama.model.layers]
        lengths = [len(prompt) for prompt in prompts]
        turns = _turns(llama.model.rotary_emb, llama.dtype, max(lengths) + steps, device)
        self._step = _at_once(llama, layers, lengths, turns)
        if self._step is None:
            shape = len(layers), llama.config.num_key_value_heads, llama.config.head_dim
            attention = Attention(lengths, shape, turns, llama.dtype)
            self._step = _OneByOne(layers, self._norm, attention)
        self.hidden = self._read(layers, prompts, turns)

    def _read(
        self, layers: Sequence[_Layer], prompts: Sequence[Sequence[int]], turns: torch.Tensor
    ) -> torch.Tensor:
        """The prompts one after another, without padding; each attends to itself."""
        device = turns.device
        ids = torch.tensor([token for prompt in prompts for token in prompt], device=device)
        turns = torch.cat([turns[: len(prompt)] for prompt in prompts])[:, None]
        ends = list(itertools.accumulate(map(len, prompts)))
        x = self._embed(ids)
        for number, layer in enumerate(layers):
            x = layer.read(x, turns, [0, *ends], functools.partial(self._step.fill, number))
        return self._norm(x[torch.tensor(ends, device=device) - 1])

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Take one token a row, ids (B,), and return the new hidden (B, D)."""
        self.hidden = self._step(self._embed(ids))
        return self.hidden

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._step.keep(rows)


def _at_once(
    llama: LlamaForCausalLM, layers: Sequence[_Layer], lengths: Sequence[int], turns: torch.Tensor
) -> Step | None:
    """For one thread of a CPU, if every part is Llama's own."""
    norms = [*(norm for layer in layers for norm in layer.norms), llama.model.norm]
    weights = [layer.weights() for layer in layers]
    if (
        llama.device.type != "cpu"
        or torch.get_num_threads() > 1
        or llama.config.hidden_act != "silu"
        or any(type(norm) is not LlamaRMSNorm for norm in norms)
        or any(
            weight is None or weight.dtype != llama.dtype or not serves(weight)
            for weight in itertools.chain(*weights)
        )
    ):
        return None
    norm_weights = torch.stack([norm.weight for norm in norms])
    attention = llama.model.layers[0].self_attn
    heads = llama.config.num_key_value_heads
    return Step(
        list(zip(*weights, strict=True)),
        norm_weights,
        llama.config.rms_norm_eps,
        attention.scaling,
        lengths,
        turns,
        heads,
    )


class _OneByOne:
    """One layer after another, on any hardware and with whatever modules stand in them."""

    def __init__(
        self, layers: Sequence[_Layer], norm: Callable[[torch.Tensor], torch.Tensor], attention: Attention
    ):
        self._layers, self._norm, self._attention = layers, norm, attention
        self.fill, self.keep = attention.fill, attention.keep

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Embedded tokens x (B, D) -> (B, D), normed."""
        self._attention.grow()
        for number, layer in enumerate(self._layers):
            x = layer(x, functools.partial(self._attention, number))
        return self._norm(x)


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
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        self._before, self._between = map(_norm, self.norms)

    def weights(self) -> list[torch.Tensor | None]:
        """Of queries, keys and values, of what they heard, of gate and up, of down: where that is all."""
        products = self._queries_keys_values, self._out, self._gate_up, self._down
        return [product.weight_alone() for product in products]

    def __call__(
        self, x: torch.Tensor, attend: Callable[[torch.Tensor, float], torch.Tensor]
    ) -> torch.Tensor:
        """x (B, D) -> (B, D)."""
        return self._finish(x, attend(self._project(x), self._scale))

    def read(
        self,
        x: torch.Tensor,
        turns: torch.Tensor,
        bounds: Sequence[int],
        fill: Callable[[int, torch.Tensor], None],
    ) -> torch.Tensor:
        """x (N, D) -> (N, D) for sequences between `bounds`; turns (N, 1, E / 2)."""
        made = self._project(x)
        made[:, : -self._heads] = turned(made[:, : -self._heads], turns)
        heard = torch.empty_like(made[:, : -2 * self._heads])
        for row, (start, end) in enumerate(itertools.pairwise(bounds)):
            part = made[start:end].transpose(0, 1)
            queries, keys_values = part[: -2 * self._heads], part[-2 * self._heads :]
            fill(row, keys_values)
            heard[start:end] = F.scaled_dot_product_attention(
                queries[None],
                keys_values[None, : self._heads],
                keys_values[None, self._heads :],
                is_causal=True,
                scale=self._scale,
                enable_gqa=True,
            )[0].transpose(0, 1)
        return self._finish(x, heard.flatten(1))

    def _project(self, x: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values, (N, heads + 2 heads of keys, E)."""
        return self._queries_keys_values(self._before(x)).view(len(x), -1, self._size)

    def _finish(self, x: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        x = x + self._out(heard)
        gate, up = self._gate_up(self._between(x)).chunk(2, dim=1)
        return x + self._down(self._activation(gate) * up)


def _side_by_side(size: int) -> torch.Tensor:
    """0, E/2, 1, E/2 + 1, ...: where the numbers of a head stood before, each beside its partner."""
    return torch.arange(size).view(2, -1).T.flatten()


def _turns(rotary: nn.Module, dtype: torch.dtype, width: int, device: torch.device) -> torch.Tensor:
    """(width, E / 2) complex: by how much each pair is turned at each position."""
    wide = torch.empty(0, dtype=torch.promote_types(dtype, torch.float32), device=device)
    cos, sin = rotary(wide, torch.arange(width, device=device)[None])
    return torch.complex(cos, sin)[0, :, : cos.shape[2] // 2].contiguous()


def _norm(norm: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    if type(norm) is not LlamaRMSNorm:
        return norm
    weight, eps = norm.weight, norm.variance_epsilon
    return lambda x: F.rms_norm(x, weight.shape, weight, eps)
