"""Chatterbox multilingual: T3, a Llama that reads text and speaks S3 codes, and S3Gen, which sounds them.

The base folder is what `fetch` makes: network/ is a checkpoint folder as ChatterboxMultilingualTTS.from_local
reads it, codec/ holds its s3gen.pt. The model code is that of chatterbox-tts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from sotaque.backends import adapter, durations, folders
from sotaque.backends.chatterbox import codec, layout, voice
from sotaque.backends.chatterbox import network as t3
from sotaque.backends.chatterbox.tokenizer import Tokenizer
from sotaque.backends.families import FAMILIES, ChatterboxGeneration, ChatterboxLearning
from sotaque.backends.protocol import IGNORED, Prompt, Reference, Spoken
from sotaque.errors import InputError, SettingsError

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True)
class Example:
    """One training item: text ids with start and stop, codes of the speech, and the clip that it is heard by.

    The text is another head's affair and is never learnt, so that `mask_prompt` changes nothing.
    """

    text: tuple[int, ...]
    codes: tuple[int, ...]
    reference: Reference

    def __len__(self) -> int:
        return layout.CONDITIONING + len(self.text) + layout.STARTS + len(self.codes)


class Backend:
    sample_rate_hz, codec_rate_hz = codec.RATE_HZ, codec.OUT_RATE_HZ
    n_codebooks = codes_per_frame = 1
    frame_rate_hz = float(layout.FRAME_RATE_HZ)
    generation = ChatterboxGeneration
    learning = ChatterboxLearning()
    packs = False
    wants_reference = True
    shortest_reference_s = FAMILIES["chatterbox"].shortest_reference_s
    speaking_dtype = torch.float32  # as upstream: in bfloat16 other codes are drawn

    def __init__(self, base: Path, device: torch.device):
        self.base, self.device = base, device
        self.codec = codec.Codec(base / "codec", device)
        self.voices = voice.Voices(base / "network", self.codec, device)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.base / "network")

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.codec.encode(waves)

    def decode(
        self,
        codes: np.ndarray,
        seed: int,
        reference: Reference | None = None,
        generation: ChatterboxGeneration | None = None,
    ) -> np.ndarray:
        """A wave with PerTh's watermark, in the voice of the reference, without which there is none.

        Of codes that a v3 network generated, the last one is decoded and its 40 ms are cut, as upstream does.
        """
        cut = 1 if generation is not None and generation.version == "v3" else 0
        return self.codec.decode(codes, seed, self.voices.for_decoder(reference), cut)

    def load_network(self, folder: Path | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """`folder` is a checkpoint folder itself, or holds one in network/ as the base folder does."""
        return t3.load(folders.network_in(folder or self.base), dtype, self.device)

    def _text_ids(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.text_ids(prompt.text, prompt.language)

    def example(self, prompt: Prompt, codes: np.ndarray, mask_prompt: bool) -> Example:
        if prompt.reference is None:
            raise InputError("Chatterbox learns with a reference, another clip of the speaker; there is none")
        text = layout.text_row(self._text_ids(prompt))
        return Example(tuple(text), tuple(layout.codes_row(codes)), prompt.reference)

    def collate(self, examples: Sequence[Example], packed: bool = False) -> dict[str, torch.Tensor]:
        """Rows of prompt, text, speech and labels, each padded at its end with its lengths beside it."""
        voices = [self.voices.of(e.reference) for e in examples]
        speech, labels = zip(*(layout.speech_row(e.codes) for e in examples), strict=True)
        batch = {
            "speaker": torch.stack([v.speaker for v in voices]),
            "labels": _padded(labels, IGNORED),
        }
        rows = {"prompt": [v.prompt.tolist() for v in voices], "text": [e.text for e in examples]}
        for name, values in (rows | {"speech": speech}).items():
            batch[name] = _padded(values, 0)
            batch[f"{name}_length"] = torch.tensor([len(value) for value in values])
        return {name: value.to(self.device) for name, value in batch.items()}

    def loss(
        self, network: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """In training mode a share of the texts is dropped, so that the guidance's branch is learnt too."""
        return t3.loss(network, batch, self.learning.text_drop)

    def logits(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float32 logits (N, 8194) at the N labelled positions, in batch order."""
        hidden, _ = t3.at_labels(network, batch, self.learning.text_drop)
        return t3.t3_of(network).speech_head(hidden).float()

    def generate(
        self,
        network: torch.nn.Module,
        prompts: Sequence[Prompt],
        generation: ChatterboxGeneration,
        seeds: Sequence[int],
    ) -> list[Spoken]:
        """One after another: upstream's guidance takes the batch for itself."""
        from sotaque.backends.chatterbox import generate

        plain, generated = t3.t3_of(network), []
        for prompt, seed in zip(prompts, seeds, strict=True):
            own_voice, limit = self.voices.of(prompt.reference), self.limit_frames(prompt, generation)
            ids = generate.speak(plain, self._text_ids(prompt), own_voice, seed, generation, limit)
            generated.append(Spoken(*layout.spoken(ids), limit / self.frame_rate_hz))
        return generated

    def limit_frames(self, prompt: Prompt, generation: ChatterboxGeneration) -> int:
        """Raises SettingsError too where the weights are not those of `generation.version`."""
        self._check_version(generation)
        layout.text_row(self._text_ids(prompt))
        room, rate_hz = layout.MAX_GENERATED, self.frame_rate_hz
        return durations.limit_frames(prompt.text, prompt.language, rate_hz, room, generation.max_s)

    def _check_version(self, generation: ChatterboxGeneration) -> None:
        path = t3.weights_file(self.base / "network")
        if generation.version == "v2" and path.name != t3.NAME:
            raise SettingsError(
                f"generation.version is v2 in the model's file, but {path} is not {t3.NAME}, for which alone "
                "the stop analyser was made; write version: v3"
            )

    def save_merged(self, network: torch.nn.Module, folder: Path) -> None:
        t3.save_like(self.base / "network", network, folder)

    def generation_config(self, generation: ChatterboxGeneration) -> dict[str, Any]:
        return {}

    def weight_keys(self, folder: Path | None = None) -> list[str]:
        return folders.weight_keys([t3.weights_file(folder or self.base / "network")])

    def lora_config(self, targets: Sequence[str] | str, rank: int, alpha: int, dropout: float) -> LoraConfig:
        return adapter.lora_config(targets, rank, alpha, dropout)

    def layers_and_vocabulary(self, network: torch.nn.Module) -> tuple[int, int]:
        return len(t3.t3_of(network).tfmr.layers), layout.SPEECH_VOCABULARY

    def checkpoint_gradients(self, network: torch.nn.Module, wanted: bool) -> None:
        adapter.checkpoint_gradients(t3.t3_of(network).tfmr, wanted)


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], True, fill)
