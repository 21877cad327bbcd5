"""Speech that continues the network's own guesses: what training sees beside the recorded past.

A model that only ever continues recordings leans on them, and loses its place in the text once it hears
itself. So in some clips of a batch a part of the past is replaced by what the network itself would have
drawn there; what it must say next stays the recording's (scheduled sampling in two passes, Mihaylova and
Martins 2019, arXiv:1906.07651).
"""

import torch

from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.micro.base.items import IGNORED


@torch.no_grad()
def rehearsed(
    network, ids: torch.Tensor, labels: torch.Tensor, layout: Layout, share: float, dice: torch.Generator
) -> torch.Tensor:
    """ids (B, L) with up to `share` of each clip's codes drawn by the network.

    Every other clip loses single codes, the rest whole frames.
    """
    drawn = draw(network, ids, labels, layout, dice)
    wanted = share * torch.rand(len(ids), 1, generator=dice)
    single = torch.rand(ids.shape, generator=dice)
    starts = (labels != IGNORED).int().argmax(1, keepdim=True)
    frame = (torch.arange(ids.shape[1]) - starts).clamp_min(0) // SLOTS
    whole = torch.rand(ids.shape, generator=dice).gather(1, frame)
    luck = torch.where(torch.arange(len(ids))[:, None] % 2 == 0, single, whole)
    return torch.where((luck < wanted).to(ids.device) & (drawn >= 0), drawn, ids)


def draw(
    network, ids: torch.Tensor, labels: torch.Tensor, layout: Layout, dice: torch.Generator
) -> torch.Tensor:
    """What the network would say at each code of ids (B, L), given the recorded past; -1 elsewhere."""
    hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    weight = network.get_input_embeddings().weight.to(hidden.dtype)
    said = labels[:, 1:]
    slots = (said - layout.first_audio).div(layout.codebook_size, rounding_mode="floor")
    slots = slots.where((said >= layout.first_audio) & (said < layout.end_audio), -1)
    drawn = torch.full_like(ids, -1)
    for slot in range(SLOTS):
        low, high = layout.slot_ids(slot)
        rows, places = (slots == slot).nonzero(as_tuple=True)
        logits = (hidden[rows, places] @ weight[low:high].T).float().cpu()
        gumbel = -torch.empty(logits.shape).exponential_(generator=dice).log()
        drawn[rows, places + 1] = (logits + gumbel).argmax(1).to(ids.device) + low
    return drawn
