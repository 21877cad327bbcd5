"""Mimi: waves to codes and back, clip by clip, as CSM itself does it.

A frame is 1,920 samples at 24 kHz (80 ms). Upstream says that batches of clips are not to be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from sotaque.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import MimiConfig


class Codec:
    """n_codebooks: of the codec's codebooks, the first so many."""

    def __init__(self, folder: Path, n_codebooks: int, device: torch.device):
        from transformers import MimiModel

        self.device, self.n_codebooks = device, n_codebooks
        try:
            self.mimi = MimiModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{folder}: not a Mimi codec in the Hugging Face layout: {reason}") from None
        self.mimi.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 -> codes (F, K) int16."""
        found = []
        for index, wave in enumerate(waves):
            if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
                raise InputError(f"wave {index} has shape {wave.shape}; expected finite samples (T,), T > 0")
            samples = torch.from_numpy(wave.astype(np.float32))[None, None].to(self.device)
            codes = self.mimi.encode(samples, num_quantizers=self.n_codebooks).audio_codes
            found.append(codes[0].T.cpu().numpy().astype(np.int16))
        return found

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (F, K) -> a wave (T,) float32."""
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        books = torch.from_numpy(codes.T.astype(np.int64))[None].to(self.device)
        return self.mimi.decode(books).audio_values[0, 0].float().cpu().numpy()


def read_config(folder: Path) -> MimiConfig:
    """Raises ModelError when the folder holds no Mimi."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RecursionError, StrictDataclassError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{folder}/config.json: not a configuration of Mimi: {reason}; put the codec kyutai/mimi there"
        ) from None
    if config.model_type != "mimi":
        raise ModelError(
            f"{folder}/config.json: model_type is {config.model_type!r}, expected 'mimi'; "
            "put the codec kyutai/mimi there"
        )
    return config
