"""The files of an OpenAudio network: read with every mismatch named, written in the layout of the base.

Upstream loads what fits and only logs what does not; then a checkpoint of another generation speaks noise.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from sotaque import files
from sotaque.backends import folders
from sotaque.backends.openaudio.network import Network, llama
from sotaque.backends.openaudio.tokenizer import Tokenizer
from sotaque.errors import ModelError

log = logging.getLogger("sotaque")

WEIGHTS, CONFIG = "model.pth", "config.json"


def read_config(folder: Path):
    """Upstream's DualARModelArgs; raises ModelError for another generation's file."""
    path = folder / CONFIG
    try:
        kind = files.read_json(path).get("model_type")
        if kind != "dual_ar":
            raise ModelError(f"{path}: model_type is {kind!r}, expected 'dual_ar' of OpenAudio S1-mini")
        return llama.BaseModelArgs.from_pretrained(str(path))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path}: not the configuration of OpenAudio S1-mini ({type(error).__name__}: {error}); put the "
            "config.json of fishaudio/openaudio-s1-mini there"
        ) from None


def load(folder: Path, tokenizer: Tokenizer, dtype: torch.dtype | str, device: torch.device) -> Network:
    """The network of a folder in upstream's layout, in eval mode; dtype "auto": as it is stored.

    Raises ModelError when a file or a tensor is missing, or config.json fits neither tokenizer nor codec.
    """
    config = read_config(folder)
    _check(config, tokenizer, folder / CONFIG)
    stored = _read(folder / WEIGHTS)
    network = _empty(config, tokenizer)
    try:
        found = network.load_state_dict(dict(stored), strict=False, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(
            f"{folder / WEIGHTS}: {reason} The weights and config.json do not belong together"
        ) from None
    if found.missing_keys:
        raise ModelError(
            f"{folder / WEIGHTS}: {len(found.missing_keys)} tensors are missing, the first is "
            f"{found.missing_keys[0]}; expected the {WEIGHTS} of OpenAudio S1-mini"
        )
    if split := sorted(stored.keys() - network.state_dict().keys() - set(found.unexpected_keys)):
        raise ModelError(
            f"{folder / WEIGHTS}: it holds {split[0]}, expected queries, keys and values in wqkv"
        )
    if found.unexpected_keys:
        log.warning("%s: not used, only kept: %s", folder / WEIGHTS, ", ".join(found.unexpected_keys[:3]))
    network = network if dtype == "auto" else network.to(dtype)
    return network.to(device).eval()


def _empty(config, tokenizer: Tokenizer) -> Network:
    """A network whose weights are still to come; what is no weight is computed as its constructor does."""
    with torch.device("meta"):
        network = Network(config, tokenizer.fish)
    positions = config.max_seq_len
    network.causal_mask = torch.ones(positions, positions, dtype=torch.bool).tril()
    network.freqs_cis = llama.precompute_freqs_cis(positions, config.head_dim, config.rope_base)
    network.fast_freqs_cis = llama.precompute_freqs_cis(
        config.num_codebooks, config.fast_head_dim, config.rope_base
    )
    return network


def _check(config, tokenizer: Tokenizer, path: Path) -> None:
    layout = tokenizer.layout
    if (config.num_codebooks, config.codebook_size) != (layout.n_codebooks, layout.semantic_size):
        raise ModelError(
            f"{path}: {config.num_codebooks} codebooks of {config.codebook_size} codes, but the codec has "
            f"{layout.n_codebooks}, the largest of {layout.semantic_size}; expected OpenAudio S1-mini's "
            "(Fish Speech 1.5 has 8 of 1024 and another codec)"
        )
    if config.vocab_size < tokenizer.vocabulary:
        raise ModelError(
            f"{path}: vocab_size is {config.vocab_size}, but the tokens of {tokenizer.path} end at "
            f"{tokenizer.vocabulary - 1}; the two files do not belong together"
        )


def _read(path: Path, mmap: bool = False) -> dict[str, torch.Tensor]:
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*"))) or "nothing"
        raise ModelError(
            f"{path}: there is no such file; found: {there}; expected the {WEIGHTS} of OpenAudio S1-mini "
            "(S2 is stored as safetensors and is another generation)"
        )
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        return {str(key): tensor.detach() for key, tensor in stored.items()}
    except Exception as error:  # torch.load raises a dozen unrelated kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not a file of tensors: {reason}") from None


def weight_keys(folder: Path) -> list[str]:
    return sorted(_read(folder / WEIGHTS, mmap=True))


def save_like(base: Path, network: nn.Module, folder: Path) -> None:
    """Write the weights under the base's names and dtypes; copy every other file, special_tokens.json too."""
    weights = network.state_dict()
    stored = _read(base / WEIGHTS, mmap=True)
    merged = folders.stored_like(stored.items(), weights, base / WEIGHTS, kept=lambda key: key not in weights)
    with folders.like(base, folder, WEIGHTS) as made:
        files.save_torch(merged, made / WEIGHTS)
