"""The DualAR network of OpenAudio: upstream's modules with a training forward of our own.

Upstream's forward, as it is in the wheel, raises; its embedding for training leaves out the scale that
speaking applies; and it checkpoints gradients in the re-entrant way, under which frozen embeddings cut every
gradient of the slow layers. So `embed` is the one of forward_generate, and checkpointing is off unless asked
for and never re-entrant.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sotaque.backends import cross_entropy, upstream
from sotaque.backends.protocol import IGNORED

llama = upstream.load("fish_speech.models.text2semantic.llama")


class States(NamedTuple):
    """main (N, D) before the norm and labels (N,), at the N positions whose next token has a label.

    fast (M, K, E) and codes (M, K): the M frames among them, and what each position of `fast` predicts.
    """

    main: torch.Tensor
    labels: torch.Tensor
    fast: torch.Tensor
    codes: torch.Tensor


class Network(llama.DualARTransformer):
    checkpointing = False

    def embed(self, inp: torch.Tensor) -> torch.Tensor:
        """Columns (B, 1 + K, L) -> (B, L, D), as forward_generate does."""
        size, books = self.config.codebook_size, self.config.num_codebooks
        first = torch.arange(books, device=inp.device)[:, None] * size
        begin, end = self.tokenizer.semantic_begin_id, self.tokenizer.semantic_end_id
        speech = ((inp[:, 0] >= begin) & (inp[:, 0] <= end))[..., None]
        x = self.embeddings(inp[:, 0]) + speech * self.codebook_embeddings(inp[:, 1:] + first).sum(1)
        if self.config.scale_codebook_embeddings:
            x = torch.where(speech, x / math.sqrt(books + 1), x)
        return x

    def forward(
        self, columns: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor | None = None
    ) -> States:
        """columns (B, 1 + K, L), labels (B, L) of row 0.

        positions (1, L): those of utterances packed in one row, each beginning at 0 and hearing itself alone.
        Padding stands on the right, where a causal network never looks.
        """
        length = columns.shape[2]
        mask, rotation = self.causal_mask[:length, :length], self.freqs_cis[:length]
        if positions is not None:
            utterance = (positions[0] == 0).cumsum(0)
            mask, rotation = mask & (utterance[:, None] == utterance), self.freqs_cis[positions[0]]
        x = self.embed(columns)
        for layer in self.layers:
            x = self._through(layer, x, rotation, mask[None, None])
        counted = labels[:, 1:] != IGNORED
        main, said = x[:, :-1][counted], columns[:, :, 1:].transpose(1, 2)[counted]
        begin, end = self.tokenizer.semantic_begin_id, self.tokenizer.semantic_end_id
        frames = (said[:, 0] >= begin) & (said[:, 0] <= end)
        codes = said[frames, 1:]
        return States(main, labels[:, 1:][counted], self._fast(main[frames], codes), codes)

    def _fast(self, main: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """main (M, D), codes (M, K) -> (M, K, E): a position has read the main state and the codes before."""
        books = self.config.num_codebooks
        heard = self.fast_embeddings(codes[:, :-1])
        x = torch.cat([self.fast_project_in(main)[:, None].to(heard.dtype), heard], dim=1)
        for layer in self.fast_layers:
            mask = self.causal_mask[None, None, :books, :books]
            x = self._through(layer, x, self.fast_freqs_cis[:books], mask)
        return self.fast_norm(x)

    def _through(
        self, layer: nn.Module, x: torch.Tensor, rotation: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        if self.checkpointing and self.training:
            return checkpoint(layer, x, rotation, mask, use_reentrant=False)
        return layer(x, rotation, mask)

    def head(self) -> nn.Linear:
        """The output layer of the main stream; tied, it is the embedding itself."""
        if not self.config.tie_word_embeddings:
            return self.output
        tied = nn.Linear(self.config.dim, self.config.vocab_size, bias=False, device="meta")
        tied.weight = self.embeddings.weight
        return tied


def network_of(network: nn.Module) -> Network:
    """The network inside one that may wear an adapter."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum in nats, number of labels of the main stream).

    The sum is that of the main tokens and, at frames, the mean over the K codes of a frame: upstream's
    CE(main) + CE(codes), of which every utterance has its own share.
    """
    plain = network_of(network)
    states = plain(**batch)
    main = cross_entropy.summed(plain.head(), plain.norm(states.main), states.labels)
    fast = cross_entropy.summed(plain.fast_output, states.fast.flatten(0, 1), states.codes.flatten())
    total = main + fast / plain.config.num_codebooks
    return total, torch.tensor(len(states.labels), device=total.device)


def logits(network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """float32 logits (N, V) of the main stream."""
    plain = network_of(network)
    return plain.head()(plain.norm(plain(**batch).main)).float()
