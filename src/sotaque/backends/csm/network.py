"""The two networks of CSM: loading, the loss of cached codes, and saving in the base's own layout.

The backbone reads text and frames and predicts the first code of the next frame; the depth decoder predicts
the K - 1 others from the backbone's state. Upstream's loss adds the mean of either, and so does this one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch.nn import functional as F

from sotaque.backends import cross_entropy, folders
from sotaque.backends.protocol import IGNORED
from sotaque.errors import ModelError

if TYPE_CHECKING:
    from transformers import CsmConfig, CsmForConditionalGeneration

CODEC = "codec_model."  # a copy of Mimi lies among the weights, and nothing here changes it


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Upstream warns each time that CSM's own control tokens lie above its vocabulary of codes."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def read_config(folder: Path) -> CsmConfig:
    """Raises ModelError when the folder holds no CSM."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        with _quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RecursionError, StrictDataclassError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{folder}/config.json: not a configuration of CSM: {reason}; expected sesame/csm-1b in "
            "transformers' layout, not in its authors' first one"
        ) from None
    if config.model_type != "csm":
        raise ModelError(
            f"{folder}/config.json: model_type is {config.model_type!r}, expected 'csm'; "
            "put sesame/csm-1b in transformers' layout there"
        )
    return config


def load(folder: Path, dtype: torch.dtype, device: torch.device) -> CsmForConditionalGeneration:
    """The network of a folder, in eval mode; raises ModelError when a file or a tensor is missing."""
    from transformers import CsmForConditionalGeneration

    read_config(folder)
    try:
        with _quiet():
            csm, report = CsmForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder}: not a CSM network in the Hugging Face layout: {reason}") from None
    for kind in ("missing_keys", "mismatched_keys"):
        if report[kind]:
            raise ModelError(
                f"{folder}: {kind.replace('_', ' ')} {sorted(report[kind])[:3]}; "
                "the weights and config.json do not belong together"
            )
    return csm.to(device).eval()


def csm_of(network: torch.nn.Module) -> CsmForConditionalGeneration:
    """The CSM inside a network that may wear an adapter."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def embedded(csm: CsmForConditionalGeneration, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the backbone reads, (B, L, D): a text token, or the sum over a frame's codes."""
    text = csm.embed_text_tokens(batch["ids"])
    sound = csm.backbone_model.embed_tokens(batch["frames"])
    return torch.where(batch["audio"][..., None], sound, text)


def at_labels(network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """States (N, D) at the N positions whose next frame is learnt, and those frames (N, K)."""
    csm = csm_of(network)
    states = csm.backbone_model(
        inputs_embeds=embedded(csm, batch), attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state
    labels = batch["labels"][:, 1:]
    learnt = labels[..., 0] != IGNORED
    return states[:, :-1][learnt], labels[learnt]


def depth_logits(network: torch.nn.Module, states: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """States (N, D) and frames (N, K) -> float32 logits (N, K - 1, V) of the codes after the first.

    Not by token ids: upstream then writes the state into the embeddings in place, which gradient
    checkpointing forbids. Nor without a mask: where there are as many frames as codebooks, upstream's search
    for packed sequences fails.
    """
    decoder = csm_of(network).depth_decoder
    books = torch.arange(frames.shape[1] - 1, device=frames.device) * decoder.config.vocab_size
    known = decoder.model.embed_tokens(frames[:, :-1] + books)
    reading = torch.cat([states[:, None].to(known.dtype), known], dim=1)
    mask = torch.ones(frames.shape, dtype=torch.int64, device=frames.device)
    return decoder(inputs_embeds=reading, attention_mask=mask, use_cache=False).logits.float()


def loss(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], depth_share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum over frames of the first code's loss plus the mean loss of the others, number of frames).

    depth_share: in training, the share of each utterance's frames whose other codes are learnt.
    """
    states, frames = at_labels(network, batch)
    first = cross_entropy.summed(csm_of(network).lm_head, states, frames[:, 0])
    rows = (batch["labels"][:, 1:, 0] != IGNORED).nonzero()[:, 0]
    counts = depth_counts(frames, rows, depth_share if csm_of(network).training else 1.0)
    deep = counts > 0
    wrong = F.cross_entropy(
        depth_logits(network, states[deep], frames[deep]).transpose(1, 2), frames[deep, 1:], reduction="none"
    )
    total = first + (wrong.mean(1) * counts[deep]).sum()
    return total, torch.tensor(len(frames), device=frames.device)


def depth_counts(frames: torch.Tensor, rows: torch.Tensor, share: float) -> torch.Tensor:
    """How much each frame (N,) counts in the depth decoder's loss: 0 for those that it does not learn.

    frames (N, K) of the utterances `rows` (N,). Of each utterance 1 - share of the frames are left out at
    random, the frame that ends the speech never, as CsmProcessor does it (labels of -101); the others count
    more, so that an utterance weighs what it would weigh whole, whatever stands in its batch.
    """
    counts = torch.ones(len(rows))
    for row in rows.unique():
        mine, spoken = rows == row, (rows == row) & frames.any(1)
        order = spoken.nonzero()[torch.randperm(int(spoken.sum())), 0].cpu()
        left_out = order[: int(len(order) * (1 - share))]
        counts[left_out] = 0.0
        counts[mine.cpu()] *= int(mine.sum()) / max(1, int(mine.sum()) - len(left_out))
    return counts.to(frames.device)


def save_like(base: Path, csm: CsmForConditionalGeneration, folder: Path) -> None:
    """Write the weights under the base's names and dtypes, the codec's as they were; copy all other files."""
    folders.save_like(base, csm.state_dict(), folder, kept=lambda key: key.startswith(CODEC))
