"""S3: waves to codes by its tokenizer, codes to waves by S3Gen, 25 codes a second.

S3Gen speaks in the voice of a reference, and each wave it makes is watermarked by PerTh, as upstream's are.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sotaque.backends import upstream
from sotaque.backends.chatterbox import layout
from sotaque.errors import InputError, ModelError

NAME = "s3gen.pt"
RATE_HZ, OUT_RATE_HZ = 16_000, 24_000
FRAME_SAMPLES, OUT_FRAME_SAMPLES = RATE_HZ // layout.FRAME_RATE_HZ, OUT_RATE_HZ // layout.FRAME_RATE_HZ


class Codec:
    """The tokenizer alone is half of S3Gen's weights, and all that `encode` and training need."""

    def __init__(self, folder: Path, device: torch.device):
        self.path, self.device = folder / NAME, device

    @functools.cached_property
    def tokenizer(self) -> torch.nn.Module:
        """S3Tokenizer, 16 kHz in."""
        made = upstream.load("chatterbox.models.s3tokenizer").S3Tokenizer()
        start = "tokenizer."
        state = {k.removeprefix(start): v for k, v in load_weights(self.path).items() if k.startswith(start)}
        return _ready(made, state, self.path, self.device)

    @functools.cached_property
    def s3gen(self) -> torch.nn.Module:
        made = upstream.load("chatterbox.models.s3gen").S3Gen()
        return _ready(made, load_weights(self.path), self.path, self.device)

    @functools.cached_property
    def watermarker(self) -> Any:
        made = upstream.load("perth").PerthImplicitWatermarker
        if made is None:
            raise ModelError("perth hides its watermarker, one of its imports failed; type: make backends")
        with contextlib.redirect_stdout(None):
            return made()

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 at 16 kHz -> codes (F, 1) int16 with F = ceil(T / 640).

        One at a time: in a batch the end of a shorter clip would hear the padding.
        """
        made = []
        for index, wave in enumerate(waves):
            if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
                raise InputError(f"wave {index} has shape {wave.shape}; expected finite samples (T,), T > 0")
            frames = math.ceil(len(wave) / FRAME_SAMPLES)
            whole = np.zeros(frames * FRAME_SAMPLES, dtype=np.float32)
            whole[: len(wave)] = wave
            codes, _ = self.tokenizer.forward([whole])
            made.append(codes[0].cpu().numpy().astype(np.int16).reshape(-1, 1))
        return made

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, seed: int, voice: dict[str, Any], cut: int = 0) -> np.ndarray:
        """Codes (F, 1) in a voice (S3Gen.embed_ref) -> a wave (F * 960,) float32 at 24 kHz, watermarked.

        The noise of the flow and of the vocoder is drawn from `seed`. cut: of so many codes at the end the
        sound is cut before the watermark; one code always sounds.
        """
        row = layout.codes_row(codes)
        if not row:
            return np.zeros(0, dtype=np.float32)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            tokens = torch.tensor(row, device=self.device)
            wave, _ = self.s3gen.inference(speech_tokens=tokens, ref_dict=dict(voice))  # it changes the dict
        plain = wave.squeeze(0).float().cpu().numpy()
        if cut:
            plain = plain[: max(1, len(row) - cut) * OUT_FRAME_SAMPLES]
        return np.asarray(self.watermarker.apply_watermark(plain, sample_rate=OUT_RATE_HZ), dtype=np.float32)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .pt file, without pickle's code; raises ModelError where there are none."""
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; put the {path.name} of ResembleAI/chatterbox there")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: not a file of weights: {_first_line(error)}; fetch it again") from None


def _ready(
    module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, device: torch.device
) -> torch.nn.Module:
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        name = type(module).__name__
        raise ModelError(
            f"{path}: not the weights of Chatterbox's {name}: {_first_line(error)}; "
            f"put the {path.name} of ResembleAI/chatterbox there (that of Turbo is another)"
        ) from None
    return module.to(device).eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def load_module(module: torch.nn.Module, path: Path, device: torch.device) -> torch.nn.Module:
    """Weights of a file into a module of upstream, in eval mode, nothing to be learnt."""
    return _ready(module, load_weights(path), path, device)
