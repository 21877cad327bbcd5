"""How a speaker sounds, from a reference clip: what T3 is conditioned on, and what S3Gen speaks in.

As ChatterboxMultilingualTTS.prepare_conditionals computes it: the speaker's embedding over the whole clip,
the codes of its first 6 s as prompt of T3, its first 10 s for S3Gen. Each clip is heard once.

One thing is otherwise: S3Gen is given whole codes of 40 ms. Upstream gives it the clip as it is, and then the
spectrum of half a code too much, by which all that is spoken starts 20 ms late and has 20 ms less.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sotaque import audio
from sotaque.backends import upstream
from sotaque.backends.chatterbox.codec import OUT_FRAME_SAMPLES, OUT_RATE_HZ, RATE_HZ, Codec, load_module
from sotaque.backends.chatterbox.layout import PROMPT_CODES
from sotaque.backends.families import FAMILIES
from sotaque.backends.protocol import Reference
from sotaque.errors import ClipError, InputError

SHORTEST_S = FAMILIES["chatterbox"].shortest_reference_s
ROUNDING_S = 1e-4  # of durations in manifests
PROMPT_S, DECODER_S = 6, 10


@dataclass(frozen=True)
class Voice:
    """speaker (256,) float32; prompt (P,) int64 codes, P at most 150. On the CPU."""

    speaker: torch.Tensor
    prompt: torch.Tensor


class Voices:
    """folder: the network's, which holds the voice encoder."""

    def __init__(self, folder: Path, codec: Codec, device: torch.device):
        self._folder, self._codec, self._device = folder, codec, device

    @functools.cached_property
    def _encoder(self) -> torch.nn.Module:
        made = upstream.load("chatterbox.models.voice_encoder").VoiceEncoder()
        return load_module(made, self._folder / "ve.pt", self._device)

    def of(self, reference: Reference | None) -> Voice:
        """What T3 is given; raises InputError without a reference, or for one that is too short."""
        return self._heard(_path_of(reference))

    def for_decoder(self, reference: Reference | None) -> dict[str, Any]:
        """What S3Gen is given (S3Gen.embed_ref); the caller must not change it."""
        return self._embedded(_path_of(reference))

    @functools.cache  # noqa: B019, for it lives as long as the backend
    def _heard(self, path: Path) -> Voice:
        wave = _resampled(_read(path), RATE_HZ)
        # Batches are made under autocast, in which S3 would say other codes.
        with torch.autocast(self._device.type, enabled=False):
            prompt, _ = self._codec.tokenizer.forward([wave[: PROMPT_S * RATE_HZ]], max_len=PROMPT_CODES)
            speaker = self._encoder.embeds_from_wavs([wave], sample_rate=RATE_HZ)
        return Voice(torch.from_numpy(speaker).mean(dim=0), prompt[0].cpu())

    @functools.lru_cache(maxsize=64)  # noqa: B019, for it lives as long as the backend
    def _embedded(self, path: Path) -> dict[str, Any]:
        wave = _read(path)[: DECODER_S * OUT_RATE_HZ]
        wave = wave[: len(wave) // OUT_FRAME_SAMPLES * OUT_FRAME_SAMPLES]
        return self._codec.s3gen.embed_ref(wave, OUT_RATE_HZ, device=self._device)


def _path_of(reference: Reference | None) -> Path:
    if reference is None:
        raise InputError(
            f"Chatterbox speaks in the voice of a reference; give it a clip of {SHORTEST_S:g} s or more"
        )
    return reference.audio


def _read(path: Path) -> np.ndarray:
    """A reference at 24 kHz."""
    try:
        samples, rate_hz = audio.read(path)
    except ClipError as error:
        raise InputError(f"{path}: the reference cannot be read: {error}") from None
    if len(samples) < (SHORTEST_S - ROUNDING_S) * rate_hz:
        raise InputError(
            f"{path}: the reference has {len(samples) / rate_hz:.1f} s, Chatterbox needs {SHORTEST_S:g} s or "
            f"more, best {DECODER_S} s; take a longer clip of the speaker"
        )
    return _resampled(samples, OUT_RATE_HZ, rate_hz)


def _resampled(samples: np.ndarray, to_hz: int, rate_hz: int = OUT_RATE_HZ) -> np.ndarray:
    """By librosa, whose last sample differs from soxr's own, as upstream does."""
    import librosa

    if rate_hz == to_hz:
        return samples
    return librosa.resample(samples, orig_sr=rate_hz, target_sr=to_hz)
