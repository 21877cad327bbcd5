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
from sotaque.backends.protocol import Spoken
from sotaque.errors import ModelError


@torch.inference_mode()
def speak(
    llama: LlamaForCausalLM,
    layout: Layout,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    generation: Generation,
    max_frames: int,
) -> list[Spoken]:
    """B prompts of ids -> B results of at most `max_frames` frames each.

    Raises ModelError when what the network says is no number.
    """
    device, steps = llama.device, max_frames * SLOTS
    decoder = Decoder(llama, prompts, steps)
    dice = _dice(seeds, steps).to(device)
    seen = torch.zeros(len(prompts), SLOTS, layout.codebook_size, dtype=torch.bool, device=device)
    codes = torch.zeros(len(prompts), steps, dtype=torch.int16, device=device)
    length = np.full(len(prompts), steps)
    penalizing = generation.repetition_penalty != 1
    alive = torch.arange(len(prompts), device=device)
    for step in range(steps):
        slot = step % SLOTS
        logits = slot_logits(llama, layout, decoder.hidden, slot)
        if slot == 0 and bool(logits.isnan().any()):
            raise ModelError("what the network says is no number: its weights or its adapter hold NaN")
        if penalizing:
            logits = _penalized(logits, seen[alive, slot], generation.repetition_penalty)
        chosen = _choose(logits, dice[alive, step], generation)
        if slot == 0 and bool((chosen == layout.codebook_size).any()):
            going = (chosen < layout.codebook_size).nonzero()[:, 0]
            length[alive[chosen == layout.codebook_size].cpu().numpy()] = step
            if not len(going):
                break
            decoder.keep(going)
            alive, chosen = alive[going], chosen[going]
        if penalizing:
            seen[alive, slot, chosen] = True
        codes[alive, step] = chosen.to(torch.int16)
        if step + 1 < steps:
            decoder.step(chosen + layout.slot_ids(slot)[0])
    spoken = codes.cpu().numpy().reshape(len(prompts), max_frames, SLOTS)
    return [
        Spoken(row[: n // SLOTS].copy(), stopped=bool(n < steps))
        for row, n in zip(spoken, length, strict=True)
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


def _dice(seeds: Sequence[int], steps: int) -> torch.Tensor:
    """One uniform number in [0, 1) for each item and step, (B, steps) float64, the same on every device."""
    return torch.stack(
        [
            torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
    )


def _penalized(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """logits (B, n) with those already spoken in this slot made less likely, as transformers does.

    seen (B, codebook_size).
    """
    spoken = logits[:, : seen.shape[1]]
    penalized = torch.where(spoken > 0, spoken / penalty, spoken * penalty)
    return torch.cat([torch.where(seen, penalized, spoken), logits[:, seen.shape[1] :]], dim=1)


def _choose(logits: torch.Tensor, dice: torch.Tensor, generation: Generation) -> torch.Tensor:
    """Sample (B,) indices from logits (B, n) by temperature and top-p, as transformers does.

    dice (B,): read off the inverse cumulative distribution.
    """
    if generation.temperature == 0:
        return logits.argmax(dim=1)
    likely, order = (
        (logits.double() / generation.temperature).softmax(1).sort(dim=1, descending=True, stable=True)
    )
    reached = likely.cumsum(1)
    kept = ((reached - likely) < generation.top_p).sum(1, keepdim=True).clamp(min=1)
    ceiling = reached.gather(1, kept - 1)
    rank = torch.searchsorted(reached, dice[:, None] * ceiling, right=True)
    return order.gather(1, torch.minimum(rank, kept - 1))[:, 0]
