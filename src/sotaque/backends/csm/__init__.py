"""CSM: a Llama that reads text and the frames of earlier turns, and speaks Mimi codes.

The base folder is what `fetch` makes: network/ (sesame/csm-1b in transformers' layout, with tokenizer.json)
and codec/ (kyutai/mimi, of which network/ holds a copy). The voice comes from an earlier turn: every prompt
has one, in training too, or the use of it would be lost. Both turns are of speaker [0].
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
from sotaque.backends import adapter, durations, folders, references, tokenizer_file
from sotaque.backends.csm import codec
from sotaque.backends.csm import network as csm
from sotaque.backends.csm.layout import Layout, Row
from sotaque.backends.families import FAMILIES, CsmGeneration, CsmLearning
from sotaque.backends.protocol import IGNORED, Prompt, Reference, Spoken
from sotaque.errors import InputError, ModelError

if TYPE_CHECKING:
    from peft import LoraConfig

CONTROLS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
SPEAKER = "[0]"


@dataclass(frozen=True)
class Example:
    """One training item: what is read, and at which positions (L,) the frame that stands there is learnt."""

    row: Row
    learnt: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


class Backend:
    generation = CsmGeneration
    learning = CsmLearning()
    packs = False
    wants_reference = True
    shortest_reference_s = FAMILIES["csm"].shortest_reference_s

    def __init__(self, base: Path, device: torch.device):
        self.base, self.device = base, device
        self.speaking_dtype = devices.speaking_dtype(device)
        config, mimi = csm.read_config(base / "network"), codec.read_config(base / "codec")
        self.codec_rate_hz = self.sample_rate_hz = mimi.sampling_rate
        self.frame_rate_hz = mimi.sampling_rate / mimi.frame_size
        self.n_codebooks = self.codes_per_frame = config.num_codebooks
        self.positions = config.max_position_embeddings
        path = base / "network" / "tokenizer.json"
        self.tokens, ids = tokenizer_file.read(path, CONTROLS, "CSM")
        self.layout = Layout(*ids, config.num_codebooks, mimi.codebook_size)
        expected = (config.audio_token_id, config.audio_eos_token_id)
        if (self.layout.audio, self.layout.audio_end) != expected:
            raise ModelError(
                f"{path}: <|AUDIO|> and <|audio_eos|> are {self.layout.audio} and {self.layout.audio_end}, "
                f"but config.json beside it says {expected[0]} and {expected[1]}; they do not belong together"
            )
        if mimi.num_quantizers < config.num_codebooks or mimi.codebook_size > config.vocab_size:
            raise ModelError(
                f"{base / 'codec'}: {mimi.num_quantizers} codebooks of {mimi.codebook_size}, but the network "
                f"speaks {config.num_codebooks} of at most {config.vocab_size}; put kyutai/mimi there"
            )

    @functools.cached_property
    def codec(self) -> codec.Codec:
        return codec.Codec(self.base / "codec", self.n_codebooks, self.device)

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.codec.encode(waves)

    def decode(
        self,
        codes: np.ndarray,
        seed: int,
        reference: Reference | None = None,
        generation: CsmGeneration | None = None,
    ) -> np.ndarray:
        """Mimi draws nothing and holds the voice in its codes: seed and reference change nothing."""
        return self.codec.decode(codes)

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """`folder` is a network itself, or holds one in network/ as the base folder does."""
        return csm.load(folders.network_in(folder or self.base), dtype, self.device)

    def prompt(self, prompt: Prompt) -> Row:
        """The reference's turn, and the text to speak: what generation starts from."""
        return self._context(prompt) + self._text(prompt.text, prompt.language)

    def _context(self, prompt: Prompt) -> Row:
        """Raises InputError without a reference, or when it is too short."""
        reference = prompt.reference
        if reference is None:
            raise InputError(f"the text {prompt.text!r} has no reference, and CSM speaks with one only")
        codes = references.codes_of(self, reference)
        return self._text(reference.text, prompt.language) + self.layout.speech(codes)

    def _text(self, text: str, language: str) -> Row:
        """Raises InputError when the text spells a control token: it would break the sequence."""
        form = FAMILIES["csm"].text_form(language)
        ids = self.tokens.encode(SPEAKER + form.apply(text, language), add_special_tokens=False).ids
        special = self.tokens.get_added_tokens_decoder()
        for token_id in ids:
            if token_id in special:
                name = special[token_id].content
                raise InputError(f"the text {text!r} spells the control token {name}; remove it")
        return self.layout.text(ids)

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example:
        """The frames of the target and their end are learnt; without the mask, the reference's too."""
        before, speech = self.prompt(prompt), self.layout.speech(codes)
        row = before + speech
        if len(row) > self.positions:
            raise InputError(f"{len(row)} positions, and the network has {self.positions}")
        learnt = row.audio.copy()
        learnt[: len(before)] &= not mask_prompt
        return Example(row, learnt)

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """Padded on the right: ids (B, L), frames (B, L, K), audio and attention_mask (B, L).

        labels (B, L, K): the frame that stands there, IGNORED where nothing is learnt.
        """
        if packed:
            raise ValueError("CSM does not pack")
        rows = [e.row for e in examples]
        labels = [np.where(e.learnt[:, None], e.row.frames, IGNORED) for e in examples]
        return {
            "ids": self._padded([row.ids for row in rows], 0),
            "frames": self._padded([row.frames for row in rows], 0),
            "audio": self._padded([row.audio for row in rows], 0),
            "attention_mask": self._padded([np.ones(len(row), np.int64) for row in rows], 0),
            "labels": self._padded(labels, IGNORED),
        }

    def _padded(self, values: Sequence[np.ndarray], fill: int) -> torch.Tensor:
        width = max(map(len, values))
        whole = np.full((len(values), width, *values[0].shape[1:]), fill, values[0].dtype)
        for row, value in zip(whole, values, strict=True):
            row[: len(value)] = value
        return torch.from_numpy(whole).to(self.device)

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In training mode the depth decoder learns a share of the frames, `learning.depth_share`."""
        return csm.loss(network, batch, self.learning.depth_share)

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, V) of the first code of the N frames that are learnt, in batch order."""
        states, _ = csm.at_labels(network, batch)
        return csm.csm_of(network).lm_head(states).float()

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: CsmGeneration,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        from sotaque.backends.csm import generate

        rows = [self.prompt(prompt) for prompt in prompts]
        limits = [
            self._limit_frames(prompt, len(row), generation)
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        spoken = generate.speak(csm.csm_of(network), self.layout, rows, seeds, generation, limits)
        return [
            Spoken(codes, stopped, limit / self.frame_rate_hz)
            for (codes, stopped), limit in zip(spoken, limits, strict=True)
        ]

    def limit_frames(self, prompt: Prompt, generation: CsmGeneration) -> int:
        return self._limit_frames(prompt, len(self.prompt(prompt)), generation)

    def _limit_frames(self, prompt: Prompt, length: int, generation: CsmGeneration) -> int:
        """length: positions of the prompt."""
        room = self.positions - length
        if room < 1:
            raise InputError(
                f"the text {prompt.text[:60]!r} and its reference take {length} positions, and the network "
                f"has {self.positions}; cut the text or take a shorter reference"
            )
        return durations.limit_frames(
            prompt.text, prompt.language, self.frame_rate_hz, room, generation.max_s
        )

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        csm.save_like(self.base / "network", network, folder)

    def generation_config(self, generation: CsmGeneration) -> dict[str, Any]:
        """Of the backbone and of the depth decoder, which draws alike; a frame of zeros is the end."""
        sampling = folders.sampling(generation.temperature, top_k=generation.top_k)
        return {
            "eos_token_id": csm.read_config(self.base / "network").codebook_eos_token_id,
            "max_new_tokens": min(int(folders.LONGEST_S * self.frame_rate_hz), self.positions),
            **sampling,
            **{f"depth_decoder_{name}": value for name, value in sampling.items()},
        }

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        return folders.weight_keys((folder or self.base / "network").glob("*.safetensors"))

    def lora_config(self, targets: Sequence[str] | str, rank: int, alpha: int, dropout: float) -> LoraConfig:
        """A bare name such as q_proj would adapt the codec too: give a regular expression."""
        return adapter.lora_config(targets, rank, alpha, dropout)

    def layers_and_vocabulary(self, network: torch.nn.Module) -> tuple[int, int]:
        """The depth decoder's logits are held for all codes of a frame at once."""
        config = csm.csm_of(network).config
        return config.num_hidden_layers, config.vocab_size * config.num_codebooks

    def checkpoint_gradients(self, network: torch.nn.Module, wanted: bool) -> None:
        adapter.checkpoint_gradients(csm.csm_of(network), wanted)
