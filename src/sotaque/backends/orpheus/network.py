"""The Llama network of Orpheus: loading, loss at the labels only, and saving in the base's own layout."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch.nn import functional as F

from sotaque.backends import cross_entropy
from sotaque.backends.orpheus.layout import Layout
from sotaque.backends.protocol import IGNORED
from sotaque.errors import ModelError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def load(folder: Path, layout: Layout, dtype: torch.dtype, device: torch.device) -> LlamaForCausalLM:
    """The network of a folder in the Hugging Face layout, in eval mode.

    Raises ModelError when a file or a tensor is missing, or the vocabulary is too small for the layout.
    """
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        llama, report = LlamaForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder}: not a Llama network in the Hugging Face layout: {reason}") from None
    for kind in ("missing_keys", "mismatched_keys"):
        if report[kind]:
            raise ModelError(
                f"{folder}: {kind.replace('_', ' ')} {sorted(report[kind])[:3]}; "
                "the weights and config.json do not belong together"
            )
    if llama.config.vocab_size < layout.end_audio:
        raise ModelError(
            f"{folder}: the vocabulary has {llama.config.vocab_size} ids, but the audio ids of "
            f"this tokenizer and codec end at {layout.end_audio - 1}"
        )
    return llama.to(device).eval()


def llama_of(network: torch.nn.Module) -> LlamaForCausalLM:
    """The Llama inside a network that may wear an adapter."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def at_labels(network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (N, D) at the N positions whose next token has a label, and those labels (N,).

    Padding stands on the right, where a causal network never looks, so no mask is needed. Positions that
    start again within a row (position_ids) are utterances packed together, which transformers keeps apart.
    """
    llama, ids, positions = llama_of(network), batch["input_ids"], batch.get("position_ids")
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    hidden = _without_padding(llama, ids, batch["attention_mask"].bool(), positions)
    if hidden is None:
        hidden = llama.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    else:
        labels = labels[batch["attention_mask"].bool()]
    return hidden[labels != IGNORED], labels[labels != IGNORED]


def _without_padding(
    llama: LlamaForCausalLM, ids: torch.Tensor, real: torch.Tensor, positions: torch.Tensor | None
) -> torch.Tensor | None:
    """Hidden states where `real` (B, L), in batch order, or None where transformers must compute them."""
    if ids.device.type != "cpu":
        return None
    from sotaque.backends.orpheus import forward

    lengths = _lengths(real, positions)
    return forward.hidden_states(llama, ids[real], lengths) if forward.fits(llama, lengths) else None


def _lengths(real: torch.Tensor, positions: torch.Tensor | None) -> list[int]:
    """The lengths of a batch's utterances, of which a packed row has several."""
    if positions is None:
        return real.sum(1).tolist()
    starts = (positions[real] == 0).nonzero()[:, 0].tolist()
    return [end - start for start, end in itertools.pairwise([*starts, int(real.sum())])]


def loss(network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross-entropies in nats and the number of labels."""
    hidden, labels = at_labels(network, batch)
    total = cross_entropy.summed(llama_of(network).lm_head, hidden, labels)
    return total, torch.tensor(len(labels), device=labels.device)
