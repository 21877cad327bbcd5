"""The modded DAC: waves to codes and back.

A frame is four hops of the encoder (2048 samples at 44.1 kHz, 21.5 frames a second) and has ten codes: one of
the semantic codebook, nine residual ones. The modules are upstream's, made from its own file of numbers
without hydra, which would import whatever such a file names.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sotaque import yaml_file
from sotaque.backends import upstream
from sotaque.backends.openaudio.layout import Layout
from sotaque.errors import InputError, ModelError, SettingsError

WEIGHTS, CONFIG = "codec.pth", "modded_dac_vq.yaml"
HOPS_A_FRAME = 4  # written into DAC.frame_length
DERIVED = ("causal_mask", "freqs_cis")  # functions of the configuration, 300 MB where they are stored


class Numbers:
    """What the configuration says of the codec; longest_frames: where its attention ends."""

    def __init__(self, folder: Path):
        self.config = read_config(folder)
        quantizer = self.config["quantizer"]
        hop = math.prod(self.config["encoder_rates"])
        self.rate_hz = int(self.config["sample_rate"])
        self.frame_samples = hop * HOPS_A_FRAME
        self.semantic_size = int(quantizer["semantic_codebook_size"])
        self.residual_size = int(quantizer["codebook_size"])
        self.n_codebooks = 1 + int(quantizer["n_codebooks"])
        self.longest_frames = min(
            self.config["transformer_general_config"]["block_size"] // HOPS_A_FRAME,
            quantizer["pre_module"]["config"]["block_size"],
            quantizer["post_module"]["config"]["block_size"],
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.semantic_size, self.residual_size, self.n_codebooks


class Codec:
    def __init__(self, folder: Path, numbers: Numbers, layout: Layout, device: torch.device):
        self.numbers, self.layout, self.device = numbers, layout, device
        self.dac = load(folder, numbers.config).to(device)

    @torch.inference_mode()
    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Waves (T,) float32 -> codes (F, K) int16 with F = ceil(T / frame_samples)."""
        return [self._encode(wave, index) for index, wave in enumerate(waves)]

    def _encode(self, wave: np.ndarray, index: int) -> np.ndarray:
        if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
            raise InputError(f"wave {index} has shape {wave.shape}; expected finite samples (T,), T > 0")
        longest_s = self.numbers.longest_frames * self.numbers.frame_samples / self.numbers.rate_hz
        if len(wave) > longest_s * self.numbers.rate_hz:
            raise InputError(
                f"wave {index} has {len(wave) / self.numbers.rate_hz:.1f} s, but this codec hears at most "
                f"{longest_s:.1f} s at once: lower normalize.max_s"
            )
        samples = torch.from_numpy(wave.astype(np.float32))[None, None].to(self.device)
        codes, _ = self.dac.encode(samples)
        return codes[0].T.cpu().numpy().astype(np.int16)

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (F, K) -> a wave (F * frame_samples,) float32.

        Raises ModelError for a code out of range, which upstream clamps without a word.
        """
        if not len(codes):
            return np.zeros(0, dtype=np.float32)
        indices = torch.from_numpy(self.layout.checked(codes).T.copy())[None].to(self.device)
        wave, _ = self.dac.decode(indices, torch.tensor([len(codes)], device=self.device))
        return wave.float().cpu().numpy().reshape(-1)


def read_config(folder: Path) -> dict[str, Any]:
    """The numbers beside the weights where there are any, else those of the package.

    Raises ModelError when OpenAudio cannot use the codec.
    """
    path = folder / CONFIG
    if not path.exists():
        path = (
            Path(importlib.util.find_spec("fish_speech").submodule_search_locations[0]) / "configs" / CONFIG
        )
    try:
        config = yaml_file.read(path)
        downsampled = math.prod(config["quantizer"]["downsample_factor"])
    except (SettingsError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not the configuration of a modded DAC ({error})") from None
    if downsampled != HOPS_A_FRAME:
        raise ModelError(f"{path}: downsample_factor multiplies to {downsampled}, expected {HOPS_A_FRAME}")
    return config


def build(config: dict[str, Any]) -> torch.nn.Module:
    """Upstream's DAC with random weights; the only classes that can be made are those named here."""
    modded_dac = upstream.load("fish_speech.models.dac.modded_dac")
    rvq = upstream.load("fish_speech.models.dac.rvq")

    def window(values: dict[str, Any]) -> torch.nn.Module:
        arguments = modded_dac.ModelArgs(**_plain(values["config"]))
        return modded_dac.WindowLimitedTransformer(**_plain(values) | {"config": arguments})

    quantizer = _plain(config["quantizer"])
    around = {side: window(quantizer[side]) for side in ("pre_module", "post_module")}
    general = functools.partial(modded_dac.ModelArgs, **_plain(config["transformer_general_config"]))
    with warnings.catch_warnings():  # its quantizers use a weight norm that torch has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        made = rvq.DownsampleResidualVectorQuantize(**quantizer | around)
    return modded_dac.DAC(**_plain(config) | {"quantizer": made, "transformer_general_config": general})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


def load(folder: Path, config: dict[str, Any]) -> torch.nn.Module:
    """The DAC of codec.pth, in eval mode; raises ModelError naming the file when it holds another codec."""
    path = folder / WEIGHTS
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*"))) or "nothing"
        raise ModelError(
            f"{path}: there is no such file; found: {there}; expected OpenAudio S1-mini's {WEIGHTS} (the "
            "firefly-gan-vq-fsq file is the codec of Fish Speech 1.5, another generation)"
        )
    try:
        dac = _empty(config)
        found = dac.load_state_dict(_weights(path), strict=False, assign=True)
    except Exception as error:  # torch.load raises a dozen unrelated kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not the weights of a modded DAC: {reason}") from None
    missing = [key for key in found.missing_keys if not key.endswith(DERIVED)]
    if missing:
        raise ModelError(
            f"{path}: {len(missing)} tensors are missing, the first is {missing[0]}; it holds "
            f"{', '.join(found.unexpected_keys[:2]) or 'nothing else'}; expected OpenAudio S1-mini's codec"
        )
    return dac.float().eval().requires_grad_(False)


def _empty(config: dict[str, Any]) -> torch.nn.Module:
    """A DAC whose weights are still to come: drawing 400 million of them by chance takes half a minute.

    The masks of its transformers, 300 MB, are never looked at: each makes that of its window.
    """
    modded_dac = upstream.load("fish_speech.models.dac.modded_dac")
    with torch.device("meta"):
        dac = build(config)
    for module in dac.modules():
        if isinstance(module, modded_dac.Transformer):
            sizes = module.config
            module.causal_mask = None
            module.freqs_cis = modded_dac.precompute_freqs_cis(
                sizes.block_size, sizes.head_dim, sizes.rope_base
            )
    return dac


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """As upstream's load_model reads them, from a training checkpoint too."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    stored = stored.get("state_dict", stored)
    if any("generator." in key for key in stored):
        stored = {key.replace("generator.", ""): v for key, v in stored.items() if "generator." in key}
    return {key: value for key, value in stored.items() if not key.endswith(DERIVED)}
