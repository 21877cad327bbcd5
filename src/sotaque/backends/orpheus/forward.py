"""Llama's forward pass over whole utterances on a CPU, with a gradient for LoRA alone.

A step of training through transformers' modules goes mostly into the fused attention, which is slow in
bfloat16 there, and into hundreds of small operations. Here the utterances of a batch lie one after another
without padding, attention is plain products of one utterance at a time, and layers that read the same
input are one autograd function with their adapters. The weights are those of transformers' and peft's own
modules (models/llama/modeling_llama.py, tuners/lora/layer.py), and so are the results, up to rounding.

N: positions of all utterances; D: width of the network; T: positions of one utterance; E: head size.
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

LONGEST = 768  # positions of an utterance whose T x T probabilities may be kept for the gradient


def fits(llama: LlamaForCausalLM, lengths: Sequence[int]) -> bool:
    """Whether `hidden_states` can stand for this network, and pays; where not, transformers must.

    In float32 the fused attention is as fast, and keeps no probabilities for the gradient.
    """
    model = llama.model
    weight, autocast = model.embed_tokens.weight, torch.is_autocast_enabled("cpu")
    return (
        weight.device.type == "cpu"
        and weight.dtype != torch.float32
        and (not autocast or torch.get_autocast_dtype("cpu") == weight.dtype)
        and max(lengths) <= LONGEST
        and all(type(layer.mlp.act_fn) in (SiLUActivation, nn.SiLU) for layer in model.layers)
        and not (model.training and model.config.attention_dropout)
        and all(map(_plain, _modules(llama)))
    )


def _modules(llama: LlamaForCausalLM) -> Iterator[nn.Module]:
    """All modules whose weights are read."""
    yield from (llama.model.embed_tokens, llama.model.norm)
    for layer in llama.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield from (layer.input_layernorm, layer.post_attention_layernorm)
        yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        yield from (mlp.gate_proj, mlp.up_proj, mlp.down_proj)


def _plain(module: nn.Module) -> bool:
    """Whether a module is what it seems: frozen, without bias, and with no adapter but scale B A."""
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
    return frozen and type(module) in kinds and getattr(module, "bias", None) is None


def hidden_states(llama: LlamaForCausalLM, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """ids (N,) of utterances of these lengths, one after another -> the last layer's output (N, D)."""
    x = F.embedding(ids, llama.model.embed_tokens.weight)
    positions = torch.cat([torch.arange(length) for length in lengths])
    rotation = [turn[0, :, None] for turn in llama.model.rotary_emb(x, positions[None])]
    with torch.autocast("cpu", enabled=False):
        for layer in llama.model.layers:
            if layer.gradient_checkpointing and layer.training:
                x = checkpoint(_layer, layer, x, rotation, lengths, use_reentrant=False)
            else:
                x = _layer(layer, x, rotation, lengths)
        return _norm(llama.model.norm, x)


def _layer(
    layer: nn.Module, x: torch.Tensor, rotation: Sequence[torch.Tensor], lengths: Sequence[int]
) -> torch.Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    made = _project(_norm(layer.input_layernorm, x), attention.q_proj, attention.k_proj, attention.v_proj)
    queries, keys, values = (one.view(len(x), -1, attention.head_dim) for one in made)
    heard = _Attention.apply(
        _rotate(queries, *rotation), _rotate(keys, *rotation), values, attention.scaling, lengths
    )
    x = x + _project(heard.flatten(1), attention.o_proj)[0]
    gate, up = _project(_norm(layer.post_attention_layernorm, x), mlp.gate_proj, mlp.up_proj)
    return x + _project(F.silu(gate) * up, mlp.down_proj)[0]


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions of x (N, heads, E)."""
    first, second = x.chunk(2, dim=2)
    return torch.addcmul(x * cos, torch.cat([-second, first], dim=2), sin)


class _Attention(torch.autograd.Function):
    """Each utterance attends to its own past: queries (N, heads, E), keys and values (N, fewer heads, E).

    Scores and their softmax are computed in float32 or better, as a fused attention does.
    """

    @staticmethod
    def forward(ctx, queries, keys, values, scale, lengths):
        heard, probabilities = torch.empty_like(queries), []
        wide = torch.promote_types(queries.dtype, torch.float32)
        for rows in _rows(lengths):
            q, k = _grouped(queries[rows], keys.shape[1]).to(wide), _heads(keys[rows]).to(wide)
            future = q.new_full((k.shape[1], k.shape[1]), -torch.inf).triu_(1)
            future = future.repeat(q.shape[1] // k.shape[1], 1)
            p = torch.baddbmm(future, q, k.transpose(1, 2), alpha=scale).softmax(-1)
            _ungroup(p.to(values.dtype) @ _heads(values[rows]), heard[rows])
            probabilities.append(p)
        ctx.save_for_backward(queries, keys, values, *probabilities)
        ctx.scale, ctx.lengths = scale, lengths
        return heard

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """With P the probabilities and G the gradient by P, the gradient by the scores is P (G - sum P G)."""
        queries, keys, values, *probabilities = ctx.saved_tensors
        by_queries, by_keys, by_values = (torch.empty_like(one) for one in (queries, keys, values))
        for rows, p in zip(_rows(ctx.lengths), probabilities, strict=True):
            q, g = (_grouped(one[rows], keys.shape[1]) for one in (queries, grad))
            by_p = g.to(p.dtype) @ _heads(values[rows]).to(p.dtype).transpose(1, 2)
            by_scores = torch._softmax_backward_data(by_p, p, -1, p.dtype).mul_(ctx.scale).to(q.dtype)
            _ungroup(by_scores @ _heads(keys[rows]), by_queries[rows])
            by_keys[rows] = _heads(by_scores.transpose(1, 2) @ q)
            by_values[rows] = _heads(p.to(q.dtype).transpose(1, 2) @ g)
        return by_queries, by_keys, by_values, None, None


def _rows(lengths: Sequence[int]) -> Iterator[slice]:
    for start, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        yield slice(start, end)


def _heads(x: torch.Tensor) -> torch.Tensor:
    """(T, heads, E) -> (heads, T, E), and back."""
    return x.transpose(0, 1)


def _grouped(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(T, heads * group, E) -> (heads, group * T, E): the queries that share a key in one product."""
    length, _, size = x.shape
    return x.view(length, heads, -1, size).permute(1, 2, 0, 3).reshape(heads, -1, size)


def _ungroup(x: torch.Tensor, into: torch.Tensor) -> None:
    length, size = into.shape[0], into.shape[2]
    into.view(length, len(x), -1, size).copy_(x.view(len(x), -1, length, size).permute(2, 0, 1, 3))


def _norm(norm: LlamaRMSNorm, x: torch.Tensor) -> torch.Tensor:
    return _Norm.apply(x, norm.weight, norm.variance_epsilon)


class _Norm(torch.autograd.Function):
    """RMSNorm of x (N, D), x / sqrt(mean(x^2) + eps) * weight, computed in float32 or better."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = (wide.pow(2).mean(1, keepdim=True) + eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype) * weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """With n = x / rms and g the gradient by n: (g - n mean(g n)) / rms."""
        x, weight, inverse = ctx.saved_tensors
        normed, slope = x * inverse, (grad * weight).to(inverse.dtype)
        slope -= normed * (slope * normed).mean(1, keepdim=True)
        return slope.mul_(inverse).to(x.dtype), None, None


def _project(x: torch.Tensor, *layers: nn.Module) -> tuple[torch.Tensor, ...]:
    """x (N, D) -> the output of each layer."""
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
        outputs, kept = [], []
        for weight, a, b, scale in zip(parts[::3], parts[1::3], parts[2::3], scales, strict=True):
            output, low = x @ weight.T, None
            if a is not None:
                a, b = a.to(x.dtype), (b * scale).to(x.dtype)
                low = x @ a.T
                output.addmm_(low, b.T)
            outputs.append(output)
            kept += [weight, a, b, low]
        ctx.save_for_backward(x, *kept)
        ctx.scales = scales
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        x, *kept = ctx.saved_tensors
        slope, slopes = None, []
        for grad, weight, a, b, low, scale in zip(
            grads, kept[::4], kept[1::4], kept[2::4], kept[3::4], ctx.scales, strict=True
        ):
            if ctx.needs_input_grad[0]:
                slope = grad @ weight if slope is None else slope.addmm_(grad, weight)
            if a is None:
                slopes += [None, None, None]
                continue
            by_low = grad @ b
            if slope is not None:
                slope.addmm_(by_low, a)
            slopes += [None, by_low.T @ x, (grad.T @ low).mul_(scale)]
        return slope, None, *slopes
