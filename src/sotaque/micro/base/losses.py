"""How well speech is foretold: nats of tokens by slot, of the phonemes ahead, and what reading gains."""

import numpy as np
import torch
from torch.nn import functional as F

from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.micro.base.items import IGNORED, SPEAKER_TOKENS, Item, collate
from sotaque.micro.codec import STEPS


def phoneme_loss(head: torch.nn.Linear, hidden: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of `phonemes_ahead`, told from the hidden states (B, L, D)."""
    told = (ahead != IGNORED).any(-1)
    logits = head(hidden[told].float()).unflatten(-1, (STEPS, -1))
    return F.cross_entropy(logits.flatten(0, 1), ahead[told].flatten(), ignore_index=IGNORED)


def slot_losses(network, ids: torch.Tensor, labels: torch.Tensor, layout: Layout, whole: bool):
    """Nats of each spoken token and its slot: (N,), (N,). Slot 0 also holds speech end, slot 7 AI end."""
    hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state
    return losses_of(network, hidden, labels, layout, whole)


def losses_of(network, hidden: torch.Tensor, labels: torch.Tensor, layout: Layout, whole: bool):
    """The same from the last hidden states (B, L, D)."""
    hidden = hidden[:, :-1]
    targets = labels[:, 1:]
    kept = targets != IGNORED
    hidden, targets = hidden[kept], targets[kept]
    slots = (targets - layout.first_audio) // layout.codebook_size
    slots[targets == layout.speech_end] = 0
    slots[targets == layout.ai_end] = SLOTS
    weight = network.get_input_embeddings().weight
    if whole:
        return F.cross_entropy((hidden @ weight.T).float(), targets, reduction="none"), slots
    losses, order = [], []
    for slot in range(SLOTS):
        low, high = layout.slot_ids(slot)
        rows = weight[low:high]
        at = targets[slots == slot] - low
        if slot == 0:
            rows = torch.cat([rows, weight[layout.speech_end, None]])
            at[at == layout.speech_end - low] = layout.codebook_size
        losses.append(F.cross_entropy((hidden[slots == slot] @ rows.T).float(), at, reduction="none"))
        order.append(torch.full_like(at, slot))
    return torch.cat(losses), torch.cat(order)


@torch.no_grad()
def validate(network, items: list, layout: Layout) -> dict[str, float]:
    """Mean nats of held-out items, and the reading gap: with another clip's text minus with the right one."""
    network.eval()
    ordered = sorted(items, key=lambda item: len(item.sequence))
    swapped = []
    for item, other in zip(ordered, ordered[1:] + ordered[:1], strict=True):
        prompt = item.prompt[:SPEAKER_TOKENS] + other.prompt[SPEAKER_TOKENS:]
        sequence = np.concatenate([prompt, item.sequence[len(item.prompt) :]]).astype(np.int32)
        swapped.append(Item(prompt, sequence, item.phonemes, item.shares))
    means = []
    for version in (ordered, swapped):
        parts = [
            slot_losses(network, *collate(version[start : start + 32], layout), layout, False)
            for start in range(0, len(version), 32)
        ]
        losses, slots = (torch.cat(column) for column in zip(*parts, strict=True))
        means.append((losses.mean().item(), losses[slots == 0].mean().item()))
    network.train()
    (nats, coarse), (nats_swapped, coarse_swapped) = means
    return {"validation_nats": nats, "reading_gap_nats": nats_swapped - nats,
            "reading_gap_coarse_nats": coarse_swapped - coarse}  # fmt: skip
