"""Speak with CSM: frame by frame the backbone says the first code and the depth decoder the others.

Only the codec's own codes may come: the vocabulary has three more. A frame of zeros ends the speech. Item i
draws from its own generator and is masked from its neighbours' padding, so that it depends on its prompt and
seed alone (up to the rounding of differently shaped matrix products).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import CsmForConditionalGeneration, DynamicCache

from sotaque.backends.csm.layout import Layout, Row
from sotaque.backends.csm.network import embedded
from sotaque.backends.families import CsmGeneration


@torch.inference_mode()
def speak(
    csm: CsmForConditionalGeneration,
    layout: Layout,
    prompts: Sequence[Row],
    seeds: Sequence[int],
    generation: CsmGeneration,
    limits: Sequence[int],
) -> list[tuple[np.ndarray, bool]]:
    """B prompts -> B pairs of codes (F, K) int16 and whether the network ended them by itself.

    limits: the most frames of each.
    """
    batch, max_frames = left_padded(prompts, csm.device), max(limits)
    noise = _draw_noise(seeds, limits, layout.n_codebooks).to(csm.device)
    frames = torch.zeros(noise.shape, dtype=torch.int64, device=csm.device)
    length, going = np.array(limits), np.ones(len(prompts), dtype=bool)
    stopped = ~going
    mask, cache = batch["attention_mask"], DynamicCache(config=csm.config)
    entering, positions = embedded(csm, batch), (mask.cumsum(1) - 1).clamp(min=0)
    for step in range(max_frames):
        states = csm.backbone_model(
            inputs_embeds=entering, attention_mask=mask, position_ids=positions,
            past_key_values=cache, use_cache=True,
        ).last_hidden_state[:, -1]  # fmt: skip
        frames[:, step] = _frame(csm, layout, states, noise[:, step], generation)
        ended = (frames[:, step] == 0).all(1).cpu().numpy() & going
        length[ended], stopped[ended] = step, True
        going &= ~ended & (length > step + 1)
        if not going.any():
            break
        entering = csm.backbone_model.embed_tokens(frames[:, step, None])
        mask, positions = torch.nn.functional.pad(mask, (0, 1), value=1), positions[:, -1:] + 1
    spoken = frames.cpu().numpy().astype(np.int16)
    return [
        (row[:n].copy(), bool(by_itself)) for row, n, by_itself in zip(spoken, length, stopped, strict=True)
    ]


def _frame(
    csm: CsmForConditionalGeneration,
    layout: Layout,
    states: torch.Tensor,
    noise: torch.Tensor,
    generation: CsmGeneration,
) -> torch.Tensor:
    """The next frame (B, K) from the backbone's states (B, D); noise (B, K)."""
    codes = [_choose(csm.lm_head(states), noise[:, 0], layout, generation)]
    cache = DynamicCache(config=csm.config.depth_decoder_config)
    known, given = (
        torch.stack([torch.zeros_like(codes[0]), codes[0]], 1),
        {"backbone_last_hidden_state": states},
    )
    for book in range(1, layout.n_codebooks):
        said = csm.depth_decoder(
            input_ids=known, past_key_values=cache, use_cache=True, logits_to_keep=1, **given
        )
        codes.append(_choose(said.logits[:, -1], noise[:, book], layout, generation))
        known, given = codes[-1][:, None], {}
    return torch.stack(codes, 1)


def _choose(
    logits: torch.Tensor, noise: torch.Tensor, layout: Layout, generation: CsmGeneration
) -> torch.Tensor:
    """Sample (B,) codes from logits (B, V) by temperature and top-k; noise (B,) in [0, 1)."""
    logits = logits[:, : layout.codebook_size].double()
    if generation.temperature == 0:
        return logits.argmax(dim=1)
    kept = min(generation.top_k or layout.codebook_size, layout.codebook_size)
    likely, order = (logits / generation.temperature).topk(kept, dim=1)
    reached = likely.softmax(1).cumsum(1)
    rank = torch.searchsorted(reached, noise[:, None] * reached[:, -1:], right=True).clamp(max=kept - 1)
    return order.gather(1, rank)[:, 0]


def _draw_noise(seeds: Sequence[int], limits: Sequence[int], n_codebooks: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), (B, F, K) float64, equal on every device; zeros beyond an item's limit."""
    drawn = [
        torch.rand((limit, n_codebooks), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed, limit in zip(seeds, limits, strict=True)
    ]
    return torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True)


def left_padded(rows: Sequence[Row], device: torch.device) -> dict[str, torch.Tensor]:
    """ids (B, L), frames (B, L, K), audio (B, L) and attention_mask (B, L), the rows on the right."""
    width = max(map(len, rows))

    def padded(values: Sequence[np.ndarray]) -> torch.Tensor:
        before = [np.zeros((width - len(v), *v.shape[1:]), v.dtype) for v in values]
        both = [np.concatenate(pair) for pair in zip(before, values, strict=True)]
        return torch.from_numpy(np.stack(both)).to(device)

    return {
        "ids": padded([row.ids for row in rows]),
        "frames": padded([row.frames for row in rows]),
        "audio": padded([row.audio for row in rows]),
        "attention_mask": padded([np.ones(len(row), np.int64) for row in rows]),
    }
