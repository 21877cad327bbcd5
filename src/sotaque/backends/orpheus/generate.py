"""Speak: sample audio tokens under the layout's grammar, with a key-value cache.

At step t only the ids of slot t % 7 are possible, and speech end only where a frame begins, so a
misaligned frame cannot come out. Only those rows of the output layer are computed. Item i draws from
its own generator and is masked from its neighbours' padding: it depends on its prompt and seed alone
(up to the rounding of differently shaped matrix products).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from sotaque.backends.families import OrpheusGeneration as Generation
from sotaque.backends.orpheus.adapted import without_fresh_adapter
from sotaque.backends.orpheus.decoder import Decoder
from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.errors import ModelError


@torch.inference_mode()
def speak(
    llama: LlamaForCausalLM,
    layout: Layout,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    generation: Generation,
    limits: Sequence[int],
) -> list[tuple[np.ndarray, bool]]:
    """B prompts of ids -> B pairs of codes (F, 7) int16 and whether the network ended them by itself.

    limits: the most frames of each. Raises ModelError when what the network says is no number.
    """
    device, steps = llama.device, max(limits) * SLOTS
    decoder = Decoder(llama, prompts, steps)
    noise = _draw_noise(seeds, limits).to(device)
    seen = torch.zeros(len(prompts), SLOTS, layout.codebook_size, dtype=torch.bool, device=device)
    codes = torch.zeros(len(prompts), steps, dtype=torch.int16, device=device)
    length = np.array(limits) * SLOTS
    limit = torch.from_numpy(length.copy()).to(device)
    stopped = np.zeros(len(prompts), dtype=bool)
    penalizing = generation.repetition_penalty != 1
    alive = torch.arange(len(prompts), device=device)
    for step in range(steps):
        slot = step % SLOTS
        logits = slot_logits(llama, layout, decoder.hidden, slot)
        if slot == 0 and bool(logits.isnan().any()):
            raise ModelError("what the network says is no number: its weights or its adapter hold NaN")
        if penalizing:
            logits = _penalized(logits, seen[alive, slot], generation.repetition_penalty)
        chosen = _choose(logits, noise[alive, step], generation)
        if slot == 0:
            full = limit[alive] <= step
            ended = (chosen == layout.codebook_size) & ~full
        if slot == 0 and bool((ended | full).any()):
            going = (~(ended | full)).nonzero()[:, 0]
            stopped[alive[ended].cpu().numpy()] = True
            length[alive[ended].cpu().numpy()] = step
            if not len(going):
                break
            decoder.keep(going)
            alive, chosen = alive[going], chosen[going]
        if penalizing:
            seen[alive, slot, chosen] = True
        codes[alive, step] = chosen.to(torch.int16)
        if step + 1 < steps:
            decoder.step(chosen + layout.slot_ids(slot)[0])
    frames = codes.cpu().numpy().reshape(len(prompts), -1, SLOTS)
    return [
        (row[: n // SLOTS].copy(), bool(by_itself))
        for row, n, by_itself in zip(frames, length, stopped, strict=True)
    ]


def slot_logits(llama: LlamaForCausalLM, layout: Layout, hidden: torch.Tensor, slot: int) -> torch.Tensor:
    """hidden (B, D) -> float32 logits (B, codebook_size) of a slot's ids; in slot 0 speech end comes last."""
    start, end = layout.slot_ids(slot)
    head, last = without_fresh_adapter(llama.lm_head), layout.speech_end
    if type(head) is not nn.Linear:  # adapted itself: its rows cannot be taken apart
        every = head(hidden)
        logits, ending = every[:, start:end], every[:, last, None]
    else:
        logits = F.linear(hidden, head.weight[start:end])
        ending = F.linear(hidden, head.weight[last, None]) if slot == 0 else None
    return (torch.cat([logits, ending], dim=1) if slot == 0 else logits).float()


def _draw_noise(seeds: Sequence[int], limits: Sequence[int]) -> torch.Tensor:
    """Uniform numbers in [0, 1) for each item and step, (B, steps) float64, the same on every device.

    An item has as many as its own limit of frames needs; behind them stand zeros, which nobody reads.
    """
    drawn = [
        torch.rand(limit * SLOTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed, limit in zip(seeds, limits, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(drawn, batch_first=True)


def _penalized(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """logits (B, n) with those already spoken in this slot made less likely, as transformers does.

    seen (B, codebook_size).
    """
    spoken = logits[:, : seen.shape[1]]
    penalized = torch.where(spoken > 0, spoken / penalty, spoken * penalty)
    return torch.cat([torch.where(seen, penalized, spoken), logits[:, seen.shape[1] :]], dim=1)


def _choose(logits: torch.Tensor, noise: torch.Tensor, generation: Generation) -> torch.Tensor:
    """Sample (B,) indices from logits (B, n) by temperature and top-p, as transformers does.

    noise (B,): read off the inverse cumulative distribution.
    """
    if generation.temperature == 0:
        return logits.argmax(dim=1)
    likely, order = (
        (logits.double() / generation.temperature).softmax(1).sort(dim=1, descending=True, stable=True)
    )
    reached = likely.cumsum(1)
    kept = ((reached - likely) < generation.top_p).sum(1, keepdim=True).clamp(min=1)
    ceiling = reached.gather(1, kept - 1)
    rank = torch.searchsorted(reached, noise[:, None] * ceiling, right=True)
    return order.gather(1, torch.minimum(rank, kept - 1))[:, 0]
