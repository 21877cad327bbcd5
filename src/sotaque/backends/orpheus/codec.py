"""SNAC: waves to codes and back, in the frames of layout.py.

A frame is hop_length * vq_strides[0] samples (2048 at 24 kHz: 85.3 ms). SNAC pads the end with zeros to
a whole frame. Here that is done before, so that on a GPU clips of equal padded length share a batch. On a CPU
each clip is encoded alone, so its codes never depend on its neighbours.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from snac import SNAC
from torch.nn.utils import parametrize

from sotaque import files
from sotaque.backends.orpheus import layout
from sotaque.backends.orpheus.encoder import Encoder
from sotaque.errors import InputError, ModelError

# Frames and clips of a batch. On a CPU a batch gains little and makes last bits depend on neighbours.
BATCH = {"cpu": (1, 1), "cuda": (512, 512)}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Codec:
    """One SNAC of three codebooks with strides [4, 2, 1]."""

    def __init__(self, folder: Path, device: torch.device):
        self.device = device
        self.snac = _load(folder).to(device)
        self.rate_hz: int = self.snac.sampling_rate
        self.codebook_size: int = self.snac.codebook_size
        self.frame_samples = int(self.snac.hop_length) * self.snac.vq_strides[0]

    @functools.cached_property
    def encoder(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return Encoder(self.snac) if self.device.type == "cpu" else self.snac.encoder

    def frames(self, samples: int) -> int:
        return math.ceil(samples / self.frame_samples)

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 -> codes (F, 7) int16 with F = ceil(T / frame_samples)."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index, wave in enumerate(waves):
            if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
                raise InputError(f"wave {index} has shape {wave.shape}; expected finite samples (T,), T > 0")
            groups[self.frames(len(wave))].append(index)
        codes: list[np.ndarray] = [np.empty(0)] * len(waves)
        most_frames, most_clips = BATCH[self.device.type]
        for frames in sorted(groups):
            size = min(most_clips, max(1, most_frames // frames))
            for start in range(0, len(groups[frames]), size):
                members = groups[frames][start : start + size]
                for index, made in zip(members, self._encode_equal(waves, members, frames), strict=True):
                    codes[index] = made
        return codes

    @torch.inference_mode()
    def _encode_equal(self, waves: Sequence[np.ndarray], members: list[int], frames: int) -> list[np.ndarray]:
        batch = np.zeros((len(members), 1, frames * self.frame_samples), dtype=np.float32)
        for row, index in enumerate(members):
            batch[row, 0, : len(waves[index])] = waves[index]
        whole = self.snac.preprocess(torch.from_numpy(batch).to(self.device))
        _, books = self.snac.quantizer(self.encoder(whole))
        cut = [book[:, : frames * n].cpu().numpy() for book, n in zip(books, (1, 2, 4), strict=True)]
        return [layout.pack([book[row] for book in cut]) for row in range(len(members))]

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, seed: int) -> np.ndarray:
        """Codes (F, 7) -> a wave (F * frame_samples,) float32; the decoder's noise is drawn from `seed`."""
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        books = [
            torch.from_numpy(book.astype(np.int64))[None].to(self.device) for book in layout.unpack(codes)
        ]
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            wave = self.snac.decode(books)
        return wave.float().cpu().numpy().reshape(-1)


def read_config(folder: Path) -> dict:
    """SNAC's constructor arguments from config.json; raises ModelError when Orpheus cannot use the codec."""
    path = folder / "config.json"
    try:
        config = files.read_json(path)
        strides = list(config["vq_strides"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: not a SNAC configuration ({type(error).__name__}: {error}); "
            "put the config.json of hubertsiuzdak/snac_24khz there"
        ) from None
    if strides != [4, 2, 1]:
        raise ModelError(f"{path}: vq_strides is {strides}; Orpheus needs the codec with [4, 2, 1]")
    return config


def _load(folder: Path) -> SNAC:
    """SNAC.from_pretrained without the hub and without pickle's code; weight norm is folded in."""
    config = read_config(folder)
    try:
        snac = SNAC(**config)
    except Exception as error:  # whatever numbers that fit nowhere lead to
        raise ModelError(f"{folder / 'config.json'}: no SNAC can be made of it: {error}") from None
    path = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if path is None:
        raise ModelError(f"{folder}: none of {', '.join(WEIGHTS)}; put the codec's weights there")
    try:
        snac.load_state_dict(_read(path))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: not the weights of the SNAC in config.json: {reason}") from None
    for module in list(snac.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return snac.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
