"""LoRA adapters: put on, saved, found and loaded again, in peft's own format.

The configuration is written with sorted keys and without the base's path or library versions, so that
equal adapters are equal files on any machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import ModulesToSaveWrapper
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from safetensors import SafetensorError
from safetensors.torch import load_file

from sotaque import files
from sotaque.backends.protocol import Backend
from sotaque.errors import ModelError
from sotaque.settings import Lora

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def attach(
    backend: Backend, network: torch.nn.Module, targets: Sequence[str] | str, lora: Lora, seed: int
) -> PeftModel:
    """Put a fresh adapter, which changes nothing yet, on the network; all that learns is float32.

    targets: names of modules, or one regular expression over their whole paths. Raises ModelError when a
    target is not in the network, or shares its weight with another module.
    """
    names = [name for name, _ in network.named_modules()]
    if isinstance(targets, str):
        if not any(re.fullmatch(targets, name) for name in names):
            raise ModelError(
                f"lora_targets is {targets!r}, and the whole path of no module matches that; "
                f"paths look like {max(names, key=len)}"
            )
    else:
        _check_names("lora_targets", targets, names)
    _refuse_tied(network, targets)
    torch.manual_seed(seed)
    config = backend.lora_config(targets, lora.rank, lora.alpha, lora.dropout)
    adapted = _put_on(network, _with_options(config, network, lora))
    for parameter in trainable(adapted).values():  # peft leaves layers that learn whole in the base's dtype,
        parameter.data = parameter.data.float()  # where bfloat16 would round most of their steps away
    return adapted


def _with_options(config: LoraConfig, network: torch.nn.Module, lora: Lora) -> LoraConfig:
    """What peft itself offers; layers that share their weights go on sharing them when they learn whole."""
    whole = list(lora.modules_to_save)
    _check_names("lora.modules_to_save", whole, [name for name, _ in network.named_modules()])
    tied = bool(getattr(getattr(network, "config", None), "tie_word_embeddings", False))
    return dataclasses.replace(
        config,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        modules_to_save=whole or None,
        ensure_weight_tying=tied and any(name in EMBEDDING_LAYER_NAMES for name in whole),
    )


def _check_names(key: str, targets: Sequence[str], names: Sequence[str]) -> None:
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            there = ", ".join(sorted({n.rpartition(".")[2] for n in names if n}))
            raise ModelError(f"{key} names {target!r}; there is no such module, only: {there}")


def _refuse_tied(network: torch.nn.Module, targets: Sequence[str] | str) -> None:
    """Raise ModelError for an adapter on a module whose weight another one uses.

    Beside the network such an adapter acts on one of the two, and merged into the weight on both.
    """
    for names in _users_of_weights(network):
        target = next((name for name in names if is_target(name, targets)), None)
        if target is None or len(names) == 1:
            continue
        others = " and ".join(name for name in names if name != target)
        raise ModelError(
            f"lora_targets includes {target}, whose weight is tied to {others} in this base: an adapter on "
            f"it cannot be merged, for the merged weight would change {others} too. Take it out of "
            "lora_targets in the model's file; to train it, write lora.modules_to_save: "
            f"[{target.rpartition('.')[2]}] in params.yaml, which trains both as one"
        )


def _users_of_weights(network: torch.nn.Module) -> list[list[str]]:
    """For each parameter, the paths of the modules that use it.

    A network with tied embeddings may have no output module, and multiply by its embedding's weight instead.
    """
    config, users = getattr(network, "config", None), {}
    for name, module in network.named_modules():
        for parameter in module.parameters(recurse=False):
            users.setdefault(id(parameter), []).append(name)
    if getattr(config, "tie_word_embeddings", False):
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding) and module.num_embeddings == config.vocab_size:
                names = users[id(module.weight)]
                if len(names) == 1:
                    names.append("the output layer")
    return list(users.values())


def is_target(name: str, targets: Sequence[str] | str) -> bool:
    """Whether peft would adapt the module of this path."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _put_on(network: torch.nn.Module, config: LoraConfig) -> PeftModel:
    """peft asks transformers in words that transformers has since renamed, and is warned each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(network, config)


def trainable(network: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


@contextlib.contextmanager
def like_the_base(network: torch.nn.Module) -> Iterator[None]:
    """Layers that learn whole have the base's dtype for a while: without autocast it speaks in one alone."""
    before: dict[torch.nn.Parameter, torch.Tensor] = {}
    for module in network.modules():
        if isinstance(module, ModulesToSaveWrapper):
            learnt = module.modules_to_save["default"].parameters()
            for parameter, original in zip(learnt, module.original_module.parameters(), strict=True):
                before.setdefault(parameter, parameter.data)
                parameter.data = parameter.data.to(original.dtype)
    try:
        yield
    finally:
        for parameter, exact in before.items():
            parameter.data = exact


def weights(network: PeftModel) -> dict[str, torch.Tensor]:
    """The adapter's tensors under peft's names, float32, on the CPU; those that are shared stand twice."""
    state = get_peft_model_state_dict(network, save_embedding_layers=False)
    return {
        key: state[key].detach().to("cpu", torch.float32, copy=True).contiguous() for key in sorted(state)
    }


def save(network: PeftModel, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    files.save_tensors(weights(network), folder / WEIGHTS)
    files.write_json(folder / CONFIG, _plain(network.peft_config["default"]))


def _plain(config: LoraConfig) -> dict:
    values = config.to_dict() | {"base_model_name_or_path": None, "inference_mode": True}
    values.pop("peft_version", None)
    return json.loads(json.dumps(values, default=sorted, sort_keys=True))


def load(network: torch.nn.Module, folder: Path) -> PeftModel:
    """Put a saved adapter on a plain network, in eval mode.

    Raises ModelError when a file is missing or does not fit the network.
    """
    try:
        values = files.read_json(folder / CONFIG)
        adapted = _put_on(network, LoraConfig(**values | {"inference_mode": False}))
        restore(adapted, load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: not an adapter of this network: {error}; train again") from None
    return adapted.eval()


def restore(network: PeftModel, state: dict[str, torch.Tensor]) -> None:
    """Set all the adapter's tensors; raises ModelError when the names differ."""
    expected = set(get_peft_model_state_dict(network, save_embedding_layers=False))
    if expected != set(state):
        others = sorted(expected ^ set(state))[:3]
        raise ModelError(f"the adapter's tensors are not those of the network: {others}")
    set_peft_model_state_dict(network, state)


def step_name(step: int) -> str:
    return f"step-{step:06d}"


def steps(folder: Path) -> list[int]:
    """The steps whose adapters lie in a folder, rising."""
    found = (re.fullmatch(r"step-(\d{6,})", path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)
