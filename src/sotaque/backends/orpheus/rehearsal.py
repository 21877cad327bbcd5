"""Speech that continues the network's own guesses: what training can read in place of the recorded past.

A model that only ever continues recordings leans on them, and loses its place in the text once it hears
itself. So a part of the past is replaced by what the network itself would have drawn there; what it must say
next stays the recording's (scheduled sampling in two passes, Mihaylova and Martins 2019, arXiv:1906.07651).
"""

from __future__ import annotations

import torch

from sotaque.backends.orpheus import network as llama
from sotaque.backends.orpheus.generate import slot_logits
from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.backends.protocol import IGNORED


@torch.no_grad()
def rehearsed(
    network: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    layout: Layout,
    share: float,
    dice: torch.Generator,
) -> torch.Tensor:
    """The input ids (B, L) of a batch, with up to `share` of each row's codes drawn by the network.

    Every other row loses single codes, the rest whole frames. dice: a generator of the CPU.
    """
    ids = batch["input_ids"]
    drawn, slots = (one.to(ids.device) for one in _draw(network, batch, layout, dice))
    wanted = share * torch.rand(len(ids), 1, generator=dice)
    single = torch.rand(ids.shape, generator=dice)
    frame = ((slots == 0).cumsum(1) - 1).clamp_min(0)
    whole = torch.rand(ids.shape, generator=dice).gather(1, frame.cpu())
    luck = torch.where(torch.arange(len(ids))[:, None] % 2 == 0, single, whole)
    return torch.where((luck < wanted).to(ids.device) & (drawn >= 0), drawn, ids)


def _draw(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], layout: Layout, dice: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L) each: what the network would say at each code after the recorded past, and its slot; else -1."""
    hidden, said = llama.at_labels(network, batch)
    rows, places = (batch["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
    spoken = (said >= layout.first_audio) & (said < layout.end_audio)
    slots = (said - layout.first_audio).div(layout.codebook_size, rounding_mode="floor").where(spoken, -1)
    drawn = torch.full_like(said, -1)
    for slot in range(SLOTS):
        logits = slot_logits(llama.llama_of(network), layout, hidden[slots == slot], slot)
        logits = logits[:, : layout.codebook_size].cpu()
        gumbel = -torch.empty(logits.shape).exponential_(generator=dice).log()
        drawn[slots == slot] = (logits + gumbel).argmax(1).to(drawn.device) + layout.slot_ids(slot)[0]
    nothing = torch.full_like(batch["input_ids"], -1)
    return (
        nothing.index_put((rows, places + 1), drawn),
        nothing.index_put((rows, places + 1), slots),
    )
