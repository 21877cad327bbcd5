"""What a model family must say about itself, and nothing more.

The loop, the checkpoints, the metrics and the report know only these verbs. Codes are integer
arrays of shape (F, K): F frames of K codes each, in the order in which the model speaks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sotaque.model_spec import Generation

IGNORED = -100  # the label of a position without loss


@dataclass(frozen=True)
class Example:
    """One training item: token ids (L,) and labels (L,), IGNORED where there is no loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A text to speak and the speaker tag to speak it with."""

    text: str
    speaker: str


@dataclass(frozen=True)
class Spoken:
    """codes (F, K) int16; stopped: the model ended by itself before the limit."""

    codes: np.ndarray
    stopped: bool


class Backend(Protocol):
    """One model family over the base folder that `fetch` made.

    A backend is built as `Backend(base: Path, device: torch.device)`; codec and network are
    loaded when first used.
    """

    device: torch.device
    sample_rate_hz: int
    codec_rate_hz: int
    n_codebooks: int
    codes_per_frame: int
    frame_rate_hz: float

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 at sample_rate_hz -> codes (F, K) int16, each as if encoded alone."""
        ...

    def decode(self, codes: np.ndarray, seed: int) -> np.ndarray:
        """Codes (F, K) -> a wave (T,) float32 at codec_rate_hz."""
        ...

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """The network of a folder (the base's when none is given), on the device, in eval mode."""
        ...

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example: ...

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """A batch (B, L) on the device: input_ids, labels, attention_mask.

        packed: all examples in one row, each with the loss that it has alone.
        """
        ...

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of the losses in nats, number of labels); their ratio is the mean per label."""
        ...

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, V) at the N labelled positions of a batch, in batch order."""
        ...

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: Generation,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        """Speak a batch; item i depends on its own prompt and seed alone, not on its neighbours."""
        ...

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        """Save a plain network in the layout of the base, so that the upstream library loads it."""
        ...

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        """The sorted tensor names of a saved network; the base's when no folder is given."""
        ...

    def lora_config(self, targets: Sequence[str], rank: int, alpha: int, dropout: float) -> Any:
        """The peft configuration that adapts this family's network."""
        ...
