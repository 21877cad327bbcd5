"""OpenAudio S1-mini (Fish Speech): a slow network speaks semantic tokens, a fast one the codes of each frame.

The base folder is what `fetch` makes: network/ (config.json, model.pth, tokenizer.tiktoken,
special_tokens.json) and codec/ (codec.pth). What only the network needs is imported when it is asked for.

Training examples carry a reference, as prompts do: the network is adapted in the very place in which it
speaks, and what it learns is how the speaker talks, not to do without the clip that says whose timbre it is.
A prompt without one can be spoken and learnt too.
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
from sotaque.backends import adapter, durations, folders, references
from sotaque.backends.families import FAMILIES, Learning, OpenAudioGeneration
from sotaque.backends.openaudio import codec
from sotaque.backends.openaudio.tokenizer import Said, Tokenizer
from sotaque.backends.protocol import IGNORED, Prompt, Reference, Spoken
from sotaque.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig

PAD_TO = 8
ROOM = 2048  # upstream refuses a prompt that leaves fewer positions to speak in
CACHE_MULTIPLE = 8  # upstream rounds the positions of its cache


@dataclass(frozen=True, eq=False)
class Example:
    """One training item: columns (1 + K, L) and labels (L,) of row 0, IGNORED where there is no loss."""

    columns: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return self.columns.shape[1]


class Backend:
    generation = OpenAudioGeneration
    learning = Learning()
    packs = True
    wants_reference = True
    shortest_reference_s = FAMILIES["openaudio"].shortest_reference_s

    def __init__(self, base: Path, device: torch.device):
        self.base, self.device = base, device
        self.speaking_dtype = devices.speaking_dtype(device)
        self._numbers = codec.Numbers(base / "codec")
        self.sample_rate_hz = self.codec_rate_hz = self._numbers.rate_hz
        self.n_codebooks = self.codes_per_frame = self._numbers.n_codebooks
        self.frame_rate_hz = self._numbers.rate_hz / self._numbers.frame_samples
        self.tokenizer = Tokenizer(base / "network", self._numbers.sizes)
        self.layout = self.tokenizer.layout

    @functools.cached_property
    def codec(self) -> codec.Codec:
        return codec.Codec(self.base / "codec", self._numbers, self.layout, self.device)

    @functools.cached_property
    def positions(self) -> int:
        """The longest sequence that the network can read."""
        return folders.read_context(self.base / "network", "max_seq_len")

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.codec.encode(waves)

    def decode(
        self,
        codes: np.ndarray,
        seed: int,
        reference: Reference | None = None,
        generation: OpenAudioGeneration | None = None,
    ) -> np.ndarray:
        """The codes hold the voice, and the decoder draws no random numbers."""
        return self.codec.decode(codes)

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """`folder` is a network itself, or holds one in network/ as the base folder does."""
        from sotaque.backends.openaudio import checkpoint

        inner = folders.network_in(folder or self.base)
        return checkpoint.load(inner, self.tokenizer, dtype, self.device)

    def _text(self, text: str, language: str) -> str:
        return FAMILIES["openaudio"].text_form(language).apply(text, language)

    def _said(self, prompt: Prompt) -> Said | None:
        """The reference's text and codes; raises InputError when it is too short."""
        reference = prompt.reference
        if reference is None:
            return None
        return self._text(reference.text, prompt.language), references.codes_of(self, reference)

    def _prompt(self, prompt: Prompt) -> np.ndarray:
        """Columns (1 + K, L); raises InputError where upstream would refuse the prompt as too long."""
        columns = self.tokenizer.prompt(self._text(prompt.text, prompt.language), self._said(prompt))
        self._check_room(columns.shape[1])
        return columns

    def _check_room(self, prompt: int) -> None:
        if prompt > self.positions - ROOM:
            raise InputError(
                f"the prompt has {prompt} positions, expected at most {self.positions - ROOM} (max_seq_len "
                f"{self.positions} less {ROOM} to speak in); shorten the text or take a shorter reference"
            )

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example:
        """Prompt, codes and end; without the mask the prompt is learnt too."""
        text = self._text(prompt.text, prompt.language)
        columns = self.tokenizer.sequence(text, codes, self._said(prompt))
        masked = columns.shape[1] - len(codes) - 1
        self._check_room(masked)
        if columns.shape[1] > self.positions:
            raise InputError(f"{columns.shape[1]} positions, and the network reads at most {self.positions}")
        labels = columns[0].astype(np.int64)
        labels[: masked if mask_prompt else 0] = IGNORED
        return Example(columns, labels)

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """columns (B, 1 + K, L) and labels (B, L), padded on the right to a multiple of 8.

        packed: all in one row, with positions (1, L) that begin at 0 for each example, which keeps its
        attention apart; no example predicts the first token of the next.
        """
        if not packed:
            return self._rows(examples)
        row = self._rows([_packed(examples)])
        counted = np.concatenate([np.arange(len(e)) for e in examples])
        positions = np.zeros((1, row["labels"].shape[1]), dtype=np.int64)
        positions[0, : len(counted)] = counted
        return row | {"positions": torch.from_numpy(positions).to(self.device)}

    def _rows(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        width = -(-max(map(len, examples)) // PAD_TO) * PAD_TO
        columns = np.zeros((len(examples), 1 + self.n_codebooks, width), dtype=np.int64)
        columns[:, 0] = self.layout.pad
        labels = np.full((len(examples), width), IGNORED)
        for row, example in enumerate(examples):
            columns[row, :, : len(example)] = example.columns
            labels[row, : len(example)] = example.labels
        made = {"columns": columns, "labels": labels}
        return {name: torch.from_numpy(values).to(self.device) for name, values in made.items()}

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        from sotaque.backends.openaudio import network as dual_ar

        return dual_ar.loss(network, batch)

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, vocabulary) of the main stream at its N labelled positions, in batch order."""
        from sotaque.backends.openaudio import network as dual_ar

        return dual_ar.logits(network, batch)

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: OpenAudioGeneration,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        from sotaque.backends.openaudio import generate
        from sotaque.backends.openaudio.network import network_of

        plain, generated = network_of(network), []
        for prompt, seed in zip(prompts, seeds, strict=True):
            columns = self._prompt(prompt)
            limit = self._limit_frames(prompt, columns.shape[1], generation)
            spoken = generate.speak(plain, self.layout, columns, seed, generation, limit)
            generated.append(Spoken(*spoken, limit / self.frame_rate_hz))
        return generated

    def limit_frames(self, prompt: Prompt, generation: OpenAudioGeneration) -> int:
        return self._limit_frames(prompt, self._prompt(prompt).shape[1], generation)

    def _limit_frames(self, prompt: Prompt, length: int, generation: OpenAudioGeneration) -> int:
        """length: positions of the prompt, which leaves at least ROOM."""
        room = self.positions // CACHE_MULTIPLE * CACHE_MULTIPLE - length
        return durations.limit_frames(
            prompt.text, prompt.language, self.frame_rate_hz, room, generation.max_s
        )

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        from sotaque.backends.openaudio.checkpoint import save_like

        save_like(self.base / "network", network, folder)

    def generation_config(self, generation: OpenAudioGeneration) -> dict[str, Any]:
        return {}

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        from sotaque.backends.openaudio.checkpoint import weight_keys

        return weight_keys(folder or self.base / "network")

    def lora_config(self, targets: Sequence[str] | str, rank: int, alpha: int, dropout: float) -> LoraConfig:
        return adapter.lora_config(targets, rank, alpha, dropout)

    def layers_and_vocabulary(self, network: torch.nn.Module) -> tuple[int, int]:
        from sotaque.backends.openaudio.network import network_of

        config = network_of(network).config
        return config.n_layer, config.vocab_size

    def checkpoint_gradients(self, network: torch.nn.Module, wanted: bool) -> None:
        from sotaque.backends.openaudio.network import network_of

        network_of(network).checkpointing = wanted


def _packed(examples: Sequence[Example]) -> Example:
    """One after another; the first token of each has no label."""
    labels = np.concatenate([e.labels for e in examples])
    labels[np.cumsum([0, *map(len, examples[:-1])])] = IGNORED
    return Example(np.concatenate([e.columns for e in examples], axis=1), labels)
