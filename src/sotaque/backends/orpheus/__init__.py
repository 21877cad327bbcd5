"""Orpheus: a Llama that reads text and speaks SNAC codes. The verbs of protocol.py over its base folder.

The base folder is what `fetch` makes: network/ (Hugging Face layout with tokenizer.json) and codec/ (snac).
What only the network needs is imported when it is asked for: the codec alone starts in half the time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sotaque import device as devices
from sotaque.backends import adapter, durations, folders
from sotaque.backends.families import FAMILIES, OrpheusGeneration, OrpheusLearning
from sotaque.backends.orpheus import codec
from sotaque.backends.orpheus import network as llama
from sotaque.backends.orpheus.layout import SLOTS
from sotaque.backends.orpheus.tokenizer import Tokenizer
from sotaque.backends.protocol import IGNORED, Prompt, Reference, Spoken
from sotaque.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig

PAD_TO = 8


@dataclass(frozen=True)
class Example:
    """One training item: token ids (L,) and labels (L,), IGNORED where there is no loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.input_ids)


class Backend:
    n_codebooks = 3
    codes_per_frame = SLOTS
    generation = OrpheusGeneration
    learning = OrpheusLearning()
    packs = True
    wants_reference = False
    shortest_reference_s = 0.0

    def __init__(self, base: Path, device: torch.device):
        self.base, self.device = base, device
        self.speaking_dtype = devices.speaking_dtype(device)
        config = codec.read_config(base / "codec")
        self.codec_rate_hz = self.sample_rate_hz = int(config["sampling_rate"])
        frame_samples = int(np.prod(config["encoder_rates"])) * config["vq_strides"][0]
        self.frame_rate_hz = self.codec_rate_hz / frame_samples
        self.tokenizer = Tokenizer(base / "network", int(config["codebook_size"]))
        self.layout = self.tokenizer.layout

    @functools.cached_property
    def codec(self) -> codec.Codec:
        return codec.Codec(self.base / "codec", self.device)

    @functools.cached_property
    def positions(self) -> int:
        """The longest sequence that the network reads."""
        return folders.read_context(self.base / "network", "max_position_embeddings")

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.codec.encode(waves)

    def decode(
        self,
        codes: np.ndarray,
        seed: int,
        reference: Reference | None = None,
        generation: OrpheusGeneration | None = None,
    ) -> np.ndarray:
        return self.codec.decode(codes, seed)

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """`folder` is a network itself, or holds one in network/ as the base folder does."""
        return llama.load(folders.network_in(folder or self.base), self.layout, dtype, self.device)

    def _text_ids(self, prompt: Prompt) -> list[int]:
        text = FAMILIES["orpheus"].text_form(prompt.language).apply(prompt.text, prompt.language)
        return self.tokenizer.text_ids(f"{prompt.speaker}: {text}")

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example:
        """Prompt, audio, speech end and AI end; without the mask the prompt is learnt too."""
        text_ids = self._text_ids(prompt)
        ids = self.layout.sequence(text_ids, codes)
        masked = len(self.layout.prompt(text_ids)) if mask_prompt else 0
        return Example(tuple(ids), (IGNORED,) * masked + tuple(ids[masked:]))

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """A row for each example, padded on the right to a multiple of 8; or all in one row.

        In a packed row each example's positions begin at 0, which is what keeps its attention apart, and no
        example predicts the first token of the next.
        """
        if packed:
            return self._rows([_packed(examples)]) | {"position_ids": self._positions(examples)}
        return self._rows(examples)

    def _rows(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": self._padded([e.input_ids for e in examples], self.layout.pad),
            "labels": self._padded([e.labels for e in examples], IGNORED),
            "attention_mask": self._padded([(1,) * len(e) for e in examples], 0),
        }

    def _padded(self, values: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        width = -(-max(map(len, values)) // PAD_TO) * PAD_TO
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in values], device=self.device)

    def _positions(self, examples: Sequence[Example]) -> torch.Tensor:
        """(1, L): 0, 1, 2, ... for each example; each 0 of the padding stands alone."""
        positions = [position for e in examples for position in range(len(e))]
        return self._padded([positions], 0)

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In training mode some codes are read as the network would say them, `learning.rehearsed_share`."""
        share = self.learning.rehearsed_share
        if share and network.training:
            from sotaque.backends.orpheus.rehearsal import rehearsed

            ids = rehearsed(network, batch, self.layout, share, torch.default_generator)
            batch = batch | {"input_ids": ids}
        return llama.loss(network, batch)

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, vocabulary) at the N labelled positions, in batch order."""
        hidden, _ = llama.at_labels(network, batch)
        return llama.llama_of(network).lm_head(hidden).float()

    def limit_frames(self, prompt: Prompt, generation: OrpheusGeneration) -> int:
        length = len(self.layout.prompt(self._text_ids(prompt)))
        room = (self.positions - length) // SLOTS
        if room < 1:
            raise InputError(
                f"the text {prompt.text[:60]!r} takes {length} positions, and the network has "
                f"{self.positions}; cut the text"
            )
        return durations.limit_frames(
            prompt.text, prompt.language, self.frame_rate_hz, room, generation.max_s
        )

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: OrpheusGeneration,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        from sotaque.backends.orpheus import generate

        ids = [self.layout.prompt(self._text_ids(prompt)) for prompt in prompts]
        limits = [self.limit_frames(prompt, generation) for prompt in prompts]
        spoken = generate.speak(llama.llama_of(network), self.layout, ids, seeds, generation, limits)
        return [
            Spoken(codes, stopped, limit / self.frame_rate_hz)
            for (codes, stopped), limit in zip(spoken, limits, strict=True)
        ]

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        folders.save_like(self.base / "network", network.state_dict(), folder)

    def generation_config(self, generation: OrpheusGeneration) -> dict[str, Any]:
        """The end is speech end: the base's own is the end of a text, with which speech would not end."""
        return {
            "bos_token_id": self.layout.text_start,
            "eos_token_id": self.layout.speech_end,
            "pad_token_id": self.layout.pad,
            "repetition_penalty": generation.repetition_penalty,
            "max_new_tokens": min(int(folders.LONGEST_S * self.frame_rate_hz) * SLOTS, self.positions),
            **folders.sampling(generation.temperature, top_p=generation.top_p, top_k=0),
        }

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        return folders.weight_keys((folder or self.base / "network").glob("*.safetensors"))

    def lora_config(self, targets: Sequence[str] | str, rank: int, alpha: int, dropout: float) -> LoraConfig:
        return adapter.lora_config(targets, rank, alpha, dropout, "CAUSAL_LM")

    def layers_and_vocabulary(self, network: torch.nn.Module) -> tuple[int, int]:
        return network.config.num_hidden_layers, network.config.vocab_size

    def checkpoint_gradients(self, network: torch.nn.Module, wanted: bool) -> None:
        adapter.checkpoint_gradients(llama.llama_of(network), wanted)


def _packed(examples: Sequence[Example]) -> Example:
    """One after another; the first token of each has no label."""
    return Example(
        tuple(token for e in examples for token in e.input_ids),
        tuple(label for e in examples for label in (IGNORED, *e.labels[1:])),
    )
