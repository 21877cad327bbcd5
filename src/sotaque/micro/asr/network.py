"""Whisper's network as it is trained: short of the padding and of the tokens that never occur.

Whisper pads every clip to 30 s. Here the clip and a few sampled positions of the padding are computed, each
weighted in the attention by the number of positions it stands for: the same model at a tenth of the cost.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from whisper.model import ModelDimensions, MultiHeadAttention, Whisper

from sotaque.micro.asr.spelling import LETTERS, Alphabet


def sample_padding(heard: int, total: int, count: int, rng: np.random.Generator) -> torch.Tensor:
    """One random position in each of `count` equal stretches of heard..total."""
    edges = np.linspace(heard, total, count + 1)
    return torch.from_numpy((edges[:-1] + rng.random(count) * np.diff(edges)).astype(np.int64))


class Trainee(nn.Module):
    """Whisper's layers with only the occurring token rows, a CTC head, and weighted attention keys."""

    def __init__(self, dims: ModelDimensions, alphabet: Alphabet):
        super().__init__()
        self.whisper = Whisper(dims)
        self.whisper.decoder.token_embedding = nn.Embedding(len(alphabet.ids), dims.n_text_state)
        nn.init.normal_(self.whisper.decoder.token_embedding.weight, std=0.02)
        nn.init.normal_(self.whisper.decoder.positional_embedding, std=0.01)
        self.ctc = nn.Linear(dims.n_audio_state, len(LETTERS) + 1)
        self.other_rows = math.log(dims.n_vocab - len(alphabet.ids))  # rows of zeros: logits of zero

    def encode(self, mel: torch.Tensor, padding: torch.Tensor, floor: torch.Tensor):
        """mel (B, 80, F), padding (K,): sampled positions, floor (B,): mel of silence.

        Returns (B, P + K, C), the attention bias of each key, and P, the number of positions heard.
        """
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        silence = floor[:, None, None].expand(-1, mel.shape[1], 12)
        silence = F.gelu(encoder.conv2(F.gelu(encoder.conv1(silence))))[:, :, 3]
        heard = x.shape[1]
        x = torch.cat([x, silence[:, None].expand(-1, len(padding), -1)], 1)
        positions = torch.cat([torch.arange(heard, device=x.device), padding])
        x = x + encoder.positional_embedding[positions]
        stands_for = (len(encoder.positional_embedding) - heard) / len(padding)
        bias = x.new_zeros(heard + len(padding))
        bias[heard:] = math.log(stands_for)
        for block in encoder.blocks:
            x = x + _attend(block.attn, block.attn_ln(x), None, bias)
            x = x + block.mlp(block.mlp_ln(x))
        return encoder.ln_post(x), bias, heard

    def decode(self, rows: torch.Tensor, audio: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """rows (B, L) -> logits (B, L, rows + 1), the last one stands for all other tokens"""
        decoder = self.whisper.decoder
        x = decoder.token_embedding(rows) + decoder.positional_embedding[: rows.shape[1]]
        for block in decoder.blocks:
            x = x + _attend(block.attn, block.attn_ln(x), None, None)
            x = x + _attend(block.cross_attn, block.cross_attn_ln(x), audio, bias)
            x = x + block.mlp(block.mlp_ln(x))
        logits = decoder.ln(x) @ decoder.token_embedding.weight.T
        return torch.cat([logits, logits.new_full((*logits.shape[:-1], 1), self.other_rows)], -1)


def _attend(
    layer: MultiHeadAttention, x: torch.Tensor, audio: torch.Tensor | None, bias: torch.Tensor | None
):
    """MultiHeadAttention.forward with a bias for each key; causal where there is none."""
    source = x if audio is None else audio
    split = (layer.n_head, -1)
    query = layer.query(x).unflatten(-1, split).transpose(1, 2)
    key = layer.key(source).unflatten(-1, split).transpose(1, 2)
    value = layer.value(source).unflatten(-1, split).transpose(1, 2)
    mask = None if bias is None else bias[None, None, None, :].expand(1, 1, x.shape[1], -1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=bias is None)
    return layer.out(mixed.transpose(1, 2).flatten(2))
