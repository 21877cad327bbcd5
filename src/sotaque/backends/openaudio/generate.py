"""Speak: a main token and its codes, frame after frame, through upstream's forward_generate.

Only semantic ids and the end are possible in the main stream, and only the codes that a codebook has in the
others. An utterance is spoken alone, from its own random numbers: it depends on its prompt and seed only. The
numbers are drawn as upstream draws them, so that with a penalty of 1 upstream's own loop over the same main
tokens speaks the same codes. Its penalty is applied here to what was spoken: upstream reads the past of the
main stream from the wrong axis, and counts zeros that were never spoken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from sotaque.backends.families import OpenAudioGeneration
from sotaque.backends.openaudio.layout import Layout
from sotaque.backends.openaudio.network import Network

WINDOW_FRAMES = 16  # of the repetition penalty, upstream's


@torch.inference_mode()
def speak(
    network: Network,
    layout: Layout,
    prompt: np.ndarray,
    seed: int,
    generation: OpenAudioGeneration,
    frames: int,
) -> tuple[np.ndarray, bool]:
    """A prompt (1 + K, L) -> codes (F, K) int16 of at most `frames` frames, and whether it ended by itself.

    frames: no more than the network has positions for behind the prompt.
    """
    device = network.embeddings.weight.device
    length = prompt.shape[1]
    drawn = _Dice(seed, generation, device)
    inp = torch.from_numpy(prompt.astype(np.int64))[None].to(device)
    at = torch.arange(length, device=device)
    spoken: list[torch.Tensor] = []
    stopped = False
    with caches(network, length + frames):
        for frame in range(frames):
            result = network.forward_generate(inp, at)
            past = torch.stack(spoken[-WINDOW_FRAMES:]) if spoken else None
            main = _main(layout, result.logits[0, -1], past, drawn)
            if main == layout.semantic_size:
                stopped = True
                break
            spoken.append(_frame(network, layout, result.hidden_states, main, past, drawn))
            inp = torch.cat([spoken[-1][:1] + layout.semantic_begin, spoken[-1]])[None, :, None]
            at = torch.tensor([length + frame], device=device)
    codes = torch.stack(spoken) if spoken else torch.zeros(0, layout.n_codebooks)
    return codes.cpu().numpy().astype(np.int16), stopped


def _main(layout: Layout, logits: torch.Tensor, past: torch.Tensor | None, drawn: _Dice) -> torch.Tensor:
    """logits (V,) -> the semantic code of the next frame, or semantic_size for the end."""
    allowed = torch.arange(layout.semantic_begin, layout.semantic_end + 1, device=logits.device)
    allowed[-1] = layout.end
    return drawn.choose(logits[allowed], past if past is None else past[:, 0], len(logits), allowed)


def _frame(
    network: Network,
    layout: Layout,
    hidden: torch.Tensor,
    main: torch.Tensor,
    past: torch.Tensor | None,
    drawn: _Dice,
) -> torch.Tensor:
    """hidden (1, 1, E) of the slow layers and the semantic code -> the codes (K,) of a frame.

    The fast layers read the state and then each code; the head is as wide as the semantic codebook, and what
    it says beyond a residual one means nothing.
    """
    codes = [main]
    network.forward_generate_fast(hidden, torch.zeros(1, dtype=torch.long, device=hidden.device))
    for codebook in range(1, layout.n_codebooks):
        at = torch.tensor([codebook], device=hidden.device)
        logits = network.forward_generate_fast(network.fast_embeddings(codes[-1][None]), at)[0, -1]
        heard = past if past is None else past[:, codebook]
        codes.append(drawn.choose(logits[: layout.size(codebook)], heard, layout.size(codebook)))
    return torch.stack(codes)


class _Dice:
    """Chooses by temperature and top-p, as fish_speech.models.text2semantic.inference.sample does."""

    def __init__(self, seed: int, generation: OpenAudioGeneration, device: torch.device):
        self._random = torch.Generator().manual_seed(seed)
        self._how, self._device = generation, device

    def choose(
        self,
        logits: torch.Tensor,
        past: torch.Tensor | None,
        width: int,
        columns: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The index of one of logits (n,), which are `columns` of an upstream row of `width` logits.

        past (W,): indices spoken before, made less likely.
        """
        noise = torch.empty(width).exponential_(1, generator=self._random).to(self._device)
        noise = noise if columns is None else noise[columns]
        logits = logits.float()
        if past is not None and self._how.repetition_penalty != 1:
            score, penalty = logits[past], self._how.repetition_penalty
            logits = logits.index_put((past,), torch.where(score < 0, score * penalty, score / penalty))
        if self._how.temperature == 0:
            return logits.argmax()
        ordered, order = logits.sort(descending=True)
        beyond = ordered.softmax(0).cumsum(0) > self._how.top_p
        beyond[0] = False
        kept = logits.masked_fill(beyond.scatter(0, order, beyond), -torch.inf)
        return ((kept / self._how.temperature).softmax(0) / noise).argmax()


@contextlib.contextmanager
def caches(network: Network, positions: int) -> Iterator[None]:
    """Keys and values for so many positions; taken away again, for they would stand among the weights."""
    weight = network.embeddings.weight
    with torch.device(weight.device):
        network.setup_caches(max_batch_size=1, max_seq_len=positions, dtype=weight.dtype)
    try:
        yield
    finally:
        for layer in (*network.layers, *network.fast_layers):
            layer.attention.kv_cache = None
        network.max_seq_len = network.max_batch_size = -1
