"""Llama's forward pass over whole utterances on a CPU, with a gradient for LoRA alone.

A step of training through transformers' modules goes mostly into the fused attention, which is slow there in
its gradient, and into hundreds of small operations. Here the utterances of a batch lie one after another,
layers that read the same input are one product, and their adapters another (adapted.py), attention is plain
products (causal.py), and what is no product of matrices is one loop each (kernels.py). The weights are those
of transformers' and peft's own modules (models/llama/modeling_llama.py), and so are the results, up to
rounding.

N: positions of all utterances and what fills them up; D, F: widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import LlamaForCausalLM
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sotaque.backends.orpheus import kernels
from sotaque.backends.orpheus.adapted import Adapted, adapter_of
from sotaque.backends.orpheus.causal import Causal
from sotaque.backends.orpheus.kernels import array

LONGEST = 768  # positions of an utterance whose T x T probabilities may be kept for the gradient
# Utterances and batches are filled up to a multiple of so many positions: for each new shape a product is
# compiled, which takes a millisecond.
UTTERANCE_MULTIPLE, BATCH_MULTIPLE = 16, 64


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
    if adapter_of(module):
        module = module.base_layer
    frozen = not (torch.is_grad_enabled() and module.weight.requires_grad)
    kinds = (nn.Linear, nn.Embedding, LlamaRMSNorm)
    whole = type(module.weight.data) is torch.Tensor  # and no share of a network that is divided
    same = module.weight.dtype == dtype
    return frozen and whole and same and type(module) in kinds and getattr(module, "bias", None) is None


def hidden_states(llama: LlamaForCausalLM, ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """ids (sum of lengths,) of utterances, one after another -> the last layer's output for each, (.., D)."""
    full = [_up(length, UTTERANCE_MULTIPLE) for length in lengths]
    real = [torch.arange(width) < length for width, length in zip(full, lengths, strict=True)]
    real = torch.cat(real).nonzero()[:, 0]
    filled = ids[0].repeat(positions(lengths))
    filled[real] = ids
    x = F.embedding(filled, llama.model.embed_tokens.weight)
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = llama.model.rotary_emb(torch.empty(0, dtype=wide), torch.arange(max(full))[None])
    turns = [turn[0, :, : turn.shape[2] // 2].contiguous() for turn in (cos, sin)]
    with torch.autocast("cpu", enabled=False):
        for layer in llama.model.layers:
            if layer.gradient_checkpointing and layer.training:
                x = checkpoint(_layer, layer, x, turns, full, use_reentrant=False)
            else:
                x = _layer(layer, x, turns, full)
        return _norm(llama.model.norm, x[real])[1]


def positions(lengths: Sequence[int]) -> int:
    """N."""
    return _up(sum(_up(length, UTTERANCE_MULTIPLE) for length in lengths), BATCH_MULTIPLE)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _layer(
    layer: nn.Module, x: torch.Tensor, turns: Sequence[torch.Tensor], full: Sequence[int]
) -> torch.Tensor:
    """full: lengths of the utterances with what fills them up."""
    attention, mlp = layer.self_attn, layer.mlp
    to_qkv, to_out = Adapted(attention.q_proj, attention.k_proj, attention.v_proj), Adapted(attention.o_proj)
    to_gates, down = Adapted(mlp.gate_proj, mlp.up_proj), Adapted(mlp.down_proj)
    x, normed = _norm(layer.input_layernorm, x)
    qkv = to_qkv(normed).view(len(x), -1, attention.head_dim)
    heads = attention.config.num_key_value_heads
    x = to_out(Causal.apply(qkv, heads, *turns, attention.scaling, full), residual=x)
    x, normed = _norm(layer.post_attention_layernorm, x)
    return down(_Gate.apply(to_gates(normed)), residual=x)


def _norm(norm: LlamaRMSNorm, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _Norm.apply(x, norm.weight, norm.variance_epsilon)


class _Norm(torch.autograd.Function):
    """x (N, D) -> x, and its RMSNorm (N, D), computed in float32 or better.

    With x passed through, the gradients of both its uses are added in the same loop.
    """

    @staticmethod
    def forward(ctx, x, weight, eps):
        normed, wide = torch.empty_like(x), torch.promote_types(x.dtype, torch.float32)
        factors, weight = torch.empty(len(x), dtype=wide), weight.detach()
        kernels.normed(array(x.detach()), array(weight), eps, array(normed), factors.numpy())
        ctx.save_for_backward(x, weight, factors)
        return x, normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, beside, grad):
        x, weight, factors = ctx.saved_tensors
        slope = torch.empty_like(x)
        kernels.normed_slope(*map(array, (beside, grad, x.detach(), weight, factors, slope)))
        return slope, None, None


class _Gate(torch.autograd.Function):
    """SiLU of the left half of gates (N, 2 F) times the right half, (N, F)."""

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
