"""Llama's forward pass over whole utterances on a CPU, with a gradient for LoRA alone.

A step of training through transformers' modules goes mostly into the fused attention, which is slow in
bfloat16 there, and into hundreds of small operations. Here the utterances of a batch lie one after another
without padding, attention is plain products of a part of one utterance at a time with what it may hear,
layers that read the same input are one autograd function with their adapters, and what is no product of
matrices is one loop each. The weights are those of transformers' and peft's own modules
(models/llama/modeling_llama.py, tuners/lora/layer.py), and so are the results, up to rounding.

N: positions of all utterances; D, F: widths; T: positions of one utterance; H: heads of keys; G: queries of
each; E: head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import LlamaForCausalLM
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sotaque.backends.orpheus import kernels
from sotaque.backends.orpheus.kernels import array

LONGEST = 768  # positions of an utterance whose T x T probabilities may be kept for the gradient
AT_ONCE = 128  # positions whose scores with all before them are one product


def fits(llama: LlamaForCausalLM, lengths: Sequence[int]) -> bool:
    """Whether `hidden_states` can stand for this network, and pays; where not, transformers must."""
    model = llama.model
    weight, autocast = model.embed_tokens.weight, torch.is_autocast_enabled("cpu")
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.bfloat16, torch.float32, torch.float64)
        and (not autocast or torch.get_autocast_dtype("cpu") == weight.dtype)
        and max(lengths) <= LONGEST
        and all(type(layer.mlp.act_fn) in (SiLUActivation, nn.SiLU) for layer in model.layers)
        and not (model.training and model.config.attention_dropout)
        and all(_plain(module, weight.dtype) for module in _modules(llama))
    )


def _modules(llama: LlamaForCausalLM) -> Iterator[nn.Module]:
    """All modules whose weights are read."""
    yield from (llama.model.embed_tokens, llama.model.norm)
    for layer in llama.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield from (layer.input_layernorm, layer.post_attention_layernorm)
        yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        yield from (mlp.gate_proj, mlp.up_proj, mlp.down_proj)


def _plain(module: nn.Module, dtype: torch.dtype) -> bool:
    """Whether a module is what it seems: frozen, of this dtype, without bias, no adapter but scale B A."""
    if type(module) is LoraLinear:
        [name, *more] = module.active_adapters
        odd = (
            more or module.merged or module.disable_adapters or module.lora_variant or module.lora_bias[name]
        )
        if odd or (module.training and type(module.lora_dropout[name]) is not nn.Identity):
            return False
        module = module.base_layer
    frozen = not (torch.is_grad_enabled() and module.weight.requires_grad)
    kinds = (nn.Linear, nn.Embedding, LlamaRMSNorm)
    whole = type(module.weight.data) is torch.Tensor  # and no share of a network that is divided
    same = module.weight.dtype == dtype
    return frozen and whole and same and type(module) in kinds and getattr(module, "bias", None) is None


def hidden_states(llama: LlamaForCausalLM, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """ids (N,) of utterances of these lengths, one after another -> the last layer's output (N, D)."""
    x = F.embedding(ids, llama.model.embed_tokens.weight)
    positions = torch.cat([torch.arange(length) for length in lengths])
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = llama.model.rotary_emb(torch.empty(0, dtype=wide), positions[None])
    turns = [turn[0, :, : turn.shape[2] // 2].contiguous() for turn in (cos, sin)]
    with torch.autocast("cpu", enabled=False):
        for layer in llama.model.layers:
            if layer.gradient_checkpointing and layer.training:
                x = checkpoint(_layer, layer, x, turns, lengths, use_reentrant=False)
            else:
                x = _layer(layer, x, turns, lengths)
        return _norm(llama.model.norm, x)


def _layer(
    layer: nn.Module, x: torch.Tensor, turns: Sequence[torch.Tensor], lengths: Sequence[int]
) -> torch.Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    made = _project(_norm(layer.input_layernorm, x), attention.q_proj, attention.k_proj, attention.v_proj)
    made = made.view(len(x), -1, attention.head_dim)
    heads = attention.config.num_key_value_heads
    heard = _Attention.apply(made, heads, *turns, attention.scaling, lengths)
    x = x + _project(heard, attention.o_proj)
    gates = _project(_norm(layer.post_attention_layernorm, x), mlp.gate_proj, mlp.up_proj)
    return x + _project(_Gate.apply(gates), mlp.down_proj)


class _Attention(torch.autograd.Function):
    """Each utterance attends to its own past.

    made (N, H G + 2 H, E): queries, keys and values -> (N, H G E). Scores and their softmax are computed in
    float32 or better, as a fused attention does.
    """

    @staticmethod
    def forward(ctx, made, heads, cos, sin, scale, lengths):
        length, group, size = len(made), made.shape[1] // heads - 2, made.shape[2]
        wide = torch.promote_types(made.dtype, torch.float32)
        queries, keys = made.new_empty(heads, length * group, size), made.new_empty(heads, length, size)
        kernels.turned(*map(array, (made, cos, sin, queries, keys)))
        values = made[:, -heads:].transpose(0, 1).contiguous()
        exact_queries, exact_keys = queries.to(wide), keys.to(wide).transpose(1, 2)
        heard, kept = torch.empty_like(queries), []
        for part, past in _parts_of(lengths):
            rows = _rows(part, group)
            p = exact_queries[:, rows] @ exact_keys[:, :, past]
            narrow = p if p.dtype == made.dtype else torch.empty_like(p, dtype=made.dtype)
            kernels.shares(p.numpy(), scale, group, array(narrow))
            torch.bmm(narrow, values[:, past], out=heard[:, rows])
            kept += [p, narrow]
        ctx.save_for_backward(queries, keys, values, cos, sin, *kept)
        ctx.scale, ctx.lengths, ctx.group = scale, lengths, group
        return _heads_together(heard, length)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        queries, keys, values, cos, sin, *kept = ctx.saved_tensors
        heads, length, size = keys.shape
        wide = torch.promote_types(grad.dtype, torch.float32)
        slope = grad.view(length, heads, -1, size).transpose(0, 1).reshape(heads, -1, size)
        exact_slope, exact_values = slope.to(wide), values.to(wide).transpose(1, 2)
        by_queries = torch.empty_like(queries)
        by_keys, by_values = torch.zeros(2, *keys.shape, dtype=wide)
        for (part, past), p, narrow in zip(_parts_of(ctx.lengths), kept[::2], kept[1::2], strict=True):
            rows = _rows(part, ctx.group)
            by_p, by_scores = exact_slope[:, rows] @ exact_values[:, :, past], torch.empty_like(narrow)
            kernels.shares_slope(by_p.numpy(), p.numpy(), ctx.scale, array(by_scores))
            torch.bmm(by_scores, keys[:, past], out=by_queries[:, rows])
            by_keys[:, past] += by_scores.transpose(1, 2) @ queries[:, rows]
            by_values[:, past] += narrow.transpose(1, 2) @ slope[:, rows]
        by_made = grad.new_empty(length, heads * (ctx.group + 2), size)
        kernels.turned_slope(*map(array, (by_queries, by_keys, by_values, cos, sin, by_made)))
        return by_made, *[None] * 5


def _parts_of(lengths: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Parts of utterances, and of each utterance all up to that part's end."""
    for start, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        for first in range(start, end, AT_ONCE):
            last = min(first + AT_ONCE, end)
            yield slice(first, last), slice(start, last)


def _rows(part: slice, group: int) -> slice:
    """Of queries, of which each position has so many."""
    return slice(part.start * group, part.stop * group)


def _heads_together(heard: torch.Tensor, length: int) -> torch.Tensor:
    """(H, N G, E) -> (N, H G E)."""
    return heard.view(len(heard), length, -1).transpose(0, 1).reshape(length, -1)


def _norm(norm: LlamaRMSNorm, x: torch.Tensor) -> torch.Tensor:
    return _Norm.apply(x, norm.weight, norm.variance_epsilon)


class _Norm(torch.autograd.Function):
    """RMSNorm of x (N, D), computed in float32 or better."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        normed, wide = torch.empty_like(x), torch.promote_types(x.dtype, torch.float32)
        factors, weight = torch.empty(len(x), dtype=wide), weight.detach()
        kernels.normed(array(x.detach()), array(weight), eps, array(normed), factors.numpy())
        ctx.save_for_backward(x, weight, factors)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight, factors = ctx.saved_tensors
        slope = torch.empty_like(x)
        kernels.normed_slope(*map(array, (grad, x.detach(), weight, factors, slope)))
        return slope, None, None


class _Gate(torch.autograd.Function):
    """SiLU of the left half of gates (N, 2 F) times the right half."""

    @staticmethod
    def forward(ctx, gates):
        made = gates.new_empty(len(gates), gates.shape[1] // 2)
        kernels.gate(array(gates.detach()), array(made))
        ctx.save_for_backward(gates)
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        [gates] = ctx.saved_tensors
        slope = torch.empty_like(gates)
        kernels.gate_slope(*map(array, (grad, gates.detach(), slope)))
        return slope


def _project(x: torch.Tensor, *layers: nn.Module) -> torch.Tensor:
    """x (N, D) -> the outputs of the layers, side by side."""
    parts, scales = zip(*map(_parts, layers), strict=True)
    return _Project.apply(x, scales, *itertools.chain(*parts))


def _parts(layer: nn.Module) -> tuple[tuple[torch.Tensor | None, ...], float]:
    """(W, A, B), scale of a layer that computes x W' + scale x A' B'; A and B are None without an adapter."""
    if type(layer) is nn.Linear:
        return (layer.weight, None, None), 0.0
    [name] = layer.active_adapters
    adapter = layer.lora_A[name].weight, layer.lora_B[name].weight
    return (layer.base_layer.weight, *adapter), layer.scaling[name]


class _Project(torch.autograd.Function):
    """x (N, D) through layers whose W is frozen; A and B are rounded to the dtype of x."""

    @staticmethod
    def forward(ctx, x, scales, *parts):
        weights = parts[::3]
        a = [one.to(x.dtype) for one in parts[1::3] if one is not None]
        b = [
            None if one is None else (one * scale).to(x.dtype)
            for one, scale in zip(parts[2::3], scales, strict=True)
        ]
        a = torch.cat(a) if a else x.new_empty(0, x.shape[1])
        low = x @ a.T
        made = x.new_empty(len(x), sum(map(len, weights)))
        for weight, one, output, lower in zip(weights, b, *_columns(weights, b, made, low), strict=True):
            torch.mm(x, weight.T, out=output)
            if one is not None:
                output.addmm_(lower, one.T)
        ctx.save_for_backward(x, a, low, *weights, *b)
        ctx.scales = scales
        return made

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, a, low, *rest = ctx.saved_tensors
        weights, b = rest[: len(ctx.scales)], rest[len(ctx.scales) :]
        by_x, by_low, slopes = None, torch.empty_like(low), []
        columns = _columns(weights, b, grad, low, by_low)
        for weight, one, scale, slope, lower, by_lower in zip(weights, b, ctx.scales, *columns, strict=True):
            if ctx.needs_input_grad[0]:
                by_x = slope @ weight if by_x is None else by_x.addmm_(slope, weight)
            if one is not None:
                torch.mm(slope, one, out=by_lower)
            slopes.append(None if one is None else (slope.T @ lower).mul_(scale))
        if by_x is not None:
            by_x.addmm_(by_low, a)
        by_a = iter((by_low.T @ x).split([one.shape[1] for one in b if one is not None]))
        by_parts = [(None, None if one is None else next(by_a), one) for one in slopes]
        return by_x, None, *itertools.chain(*by_parts)


def _columns(
    weights: Sequence[torch.Tensor], b: Sequence[torch.Tensor | None], wide: torch.Tensor, *low: torch.Tensor
) -> Iterator[Sequence[torch.Tensor]]:
    """The columns of each layer: of its outputs, and of what its A makes."""
    yield wide.split([len(weight) for weight in weights], dim=1)
    ranks = [0 if one is None else one.shape[1] for one in b]
    yield from (one.split(ranks, dim=1) for one in low)
