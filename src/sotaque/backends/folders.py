"""The folder of a network: where it lies in a base folder, and one like the base's with other weights."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from sotaque import files
from sotaque.errors import ModelError

LONGEST_S = 60.0  # of one generation, for upstream programs that have no limit by the text
SAMPLING = tuple(
    f"{prefix}{name}" for prefix in ("", "depth_decoder_") for name in ("temperature", "top_k", "top_p")
)


def network_in(folder: Path) -> Path:
    """network/ inside a folder, as a base folder has it, or the folder itself."""
    inner = folder / "network"
    return inner if inner.is_dir() else folder


def sampling(temperature: float, **values: float) -> dict[str, Any]:
    """The keys of generation_config.json for sampling, or for greedy choice where the temperature is 0."""
    return {"do_sample": True, "temperature": temperature, **values} if temperature else {"do_sample": False}


def write_generation_config(folder: Path, values: dict[str, Any]) -> None:
    """Update a folder's generation_config.json, or make one; nothing where there are no values."""
    if not values:
        return
    path = folder / "generation_config.json"
    try:
        before = files.read_json(path) if path.exists() else {}
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}); fetch the model again") from None
    if not values["do_sample"]:
        before = {key: value for key, value in before.items() if key not in SAMPLING}
    kept = {key: value for key, value in before.items() if not key.endswith("_from_model_config")}
    files.write_json(path, kept | values)


def read_context(network: Path, key: str) -> int:
    """The most positions that a network reads, by config.json; raises ModelError where `key` is not there."""
    path = network / "config.json"
    try:
        return int(files.read_json(path)[key])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{path}: {key} is not there ({error}); fetch the model again") from None


def weight_keys(paths: Iterable[Path]) -> list[str]:
    """The sorted tensor names of safetensors files."""
    keys = []
    for path in paths:
        with safe_open(path, "pt") as tensors:
            keys += tensors.keys()
    return sorted(keys)


@contextlib.contextmanager
def like(base: Path, folder: Path, without: str) -> Iterator[Path]:
    """A folder to put new weights into: every file of `base` is there but those that `without` matches.

    It becomes `folder` when all has gone well.
    """
    with files.atomic_folder(folder) as made:
        for path in files.walk(base):
            if not path.match(without) and path.name != "seal.json":
                target = made / path.relative_to(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        yield made


def stored_like(
    stored: Iterable[tuple[str, torch.Tensor]],
    weights: Mapping[str, torch.Tensor],
    source: Path,
    kept: Callable[[str], bool] = lambda key: False,
) -> dict[str, torch.Tensor]:
    """The tensors of a file of the base, in its names and dtypes, with the values of `weights`.

    kept: whether a tensor stays as it is in the base. Raises ModelError when `weights` lacks another one.
    """
    found = {}
    for key, tensor in stored:
        if not kept(key) and key not in weights:
            raise ModelError(f"{source}: the network has no tensor {key}, which the file holds")
        value = tensor if kept(key) else weights[key]
        found[key] = value.to("cpu", tensor.dtype).contiguous().clone()
    return found


def save_weights(
    source: Path,
    weights: Mapping[str, torch.Tensor],
    target: Path,
    kept: Callable[[str], bool] = lambda key: False,
) -> None:
    """Write a safetensors file like `source`; see `stored_like`."""
    with safe_open(source, "pt") as tensors:
        stored = ((key, tensors.get_tensor(key)) for key in sorted(tensors.keys()))
        saved = stored_like(stored, weights, source, kept)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.save_tensors(saved, target)


def save_like(
    base: Path,
    weights: Mapping[str, torch.Tensor],
    folder: Path,
    kept: Callable[[str], bool] = lambda key: False,
) -> None:
    """A folder like the base's in the Hugging Face layout: same files and names; see `stored_like`."""
    with like(base, folder, "*.safetensors") as made:
        for path in files.walk(base):
            if path.suffix == ".safetensors":
                save_weights(path, weights, made / path.relative_to(base), kept)
