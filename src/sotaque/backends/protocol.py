"""What a model family must say about itself, and nothing more.

The loop, the checkpoints, the metrics and the report know only these verbs. Codes are integer
arrays of shape (F, K): F frames of K codes each, in the order in which the model speaks them.
What an example and a batch hold is the family's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sotaque.backends.families import Generation, Learning

if TYPE_CHECKING:
    import torch

IGNORED = -100  # the label of a position without loss


@dataclass(frozen=True)
class Reference:
    """Another clip of the same speaker, never the one that is spoken or learnt.

    text: what is said in it. audio: its WAV. codes (F, K): what `encode` makes of it.
    """

    text: str
    audio: Path
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Prompt:
    """A text to speak, the speaker tag to speak it with, its language and how the speaker sounds."""

    text: str
    speaker: str
    language: str = ""
    reference: Reference | None = None


@dataclass(frozen=True)
class Spoken:
    """codes (F, K) int16; stopped: the model ended by itself; limit_s: where it would have been stopped."""

    codes: np.ndarray
    stopped: bool
    limit_s: float | None = None


class Example(Protocol):
    """One training item, a frozen dataclass of its family; its length is the positions that it costs."""

    def __len__(self) -> int: ...


class Backend(Protocol):
    """One model family over the base folder that `fetch` made.

    A backend is built as `Backend(base: Path, device: torch.device)`; codec and network are
    loaded when first used.

    sample_rate_hz: what `encode` hears; codec_rate_hz: what `decode` gives. generation: the family's
    dataclass of settings. learning: what its training is told. packs: `collate` can put many examples in one
    row. wants_reference: every prompt must hold a reference, of shortest_reference_s or more. speaking_dtype:
    the network's, when it generates.
    """

    device: torch.device
    sample_rate_hz: int
    codec_rate_hz: int
    n_codebooks: int
    codes_per_frame: int
    frame_rate_hz: float
    generation: type
    learning: Learning
    packs: bool
    wants_reference: bool
    shortest_reference_s: float
    speaking_dtype: torch.dtype

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 at sample_rate_hz -> codes (F, K) int16, each as if encoded alone."""
        ...

    def decode(
        self,
        codes: np.ndarray,
        seed: int,
        reference: Reference | None = None,
        generation: Generation | None = None,
    ) -> np.ndarray:
        """Codes (F, K) -> a wave (T,) float32 at codec_rate_hz.

        reference: whose voice, for codes that do not hold it. generation: for codes that a network generated,
        the settings that it did so with; None for those of a recording.
        """
        ...

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = ...) -> torch.nn.Module:
        """The network of a folder (by default the base's) on the device, in eval mode; float32 by default."""
        ...

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example:
        """The training item: `codes` (F, K) is what the prompt's text sounds like.

        Raises InputError for a text that cannot be learnt, ModelError for codes that cannot be spoken.
        """
        ...

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """A batch on the device, for `loss` and `logits`.

        packed: all examples in one row, each with the loss that it has alone; only where `packs`.
        """
        ...

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of the losses in nats, number of labels); their ratio is the mean per label.

        A family that predicts by two streams adds up both.
        """
        ...

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, V) at the N labelled positions of the main stream of a batch, in batch order."""
        ...

    def limit_frames(self, prompt: Prompt, generation: Generation) -> int:
        """The most frames that `generate` makes of a prompt: by its text, max_s and the network's context.

        Raises InputError for a prompt that leaves no room to speak, or cannot be read.
        """
        ...

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: Generation,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        """Speak a batch; item i depends on its own prompt and seed alone, not on its neighbours.

        Each item has its own limit, `limit_frames`.
        """
        ...

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        """Save a plain network in the layout of the base, so that the upstream library loads it."""
        ...

    def generation_config(self, generation: Generation) -> dict[str, Any]:
        """What transformers' generation_config.json holds, for upstream to speak as `generate` does.

        Empty for a family whose upstream reads no such file.
        """
        ...

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        """The sorted tensor names of a saved network; the base's when no folder is given."""
        ...

    def lora_config(self, targets: Sequence[str] | str, rank: int, alpha: int, dropout: float) -> Any:
        """The peft configuration that adapts this family's network.

        targets: names of modules, or one regular expression over their whole paths.
        """
        ...

    def layers_and_vocabulary(self, network: torch.nn.Module) -> tuple[int, int]:
        """(layers of the largest stack, columns of its logits), for the estimate of memory."""
        ...

    def checkpoint_gradients(self, network: torch.nn.Module, wanted: bool) -> None:
        """Turn gradient checkpointing (never re-entrant) on or off, with or without an adapter."""
        ...
