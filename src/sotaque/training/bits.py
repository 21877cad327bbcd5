"""Fewer bits for cards of 12 to 24 GB, by bitsandbytes: a base in 4 under the adapter, moments in 8.

Sources: Dettmers et al., QLoRA, arXiv:2305.14314 (NF4 with double quantisation); Dettmers et al., 8-bit
Optimizers via Block-wise Quantization, arXiv:2110.02861.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import nn

from sotaque.errors import SettingsError
from sotaque.training.lora import is_target

PACKAGE = "bitsandbytes"


def _package(key: str) -> ModuleType:
    if importlib.util.find_spec(PACKAGE) is None:
        raise SettingsError(
            f"params.yaml: {key} needs the package {PACKAGE}, which is not installed; "
            f"type: {sys.executable} -m pip install {PACKAGE}"
        )
    return importlib.import_module(PACKAGE)


def in_four(network: nn.Module, targets: Sequence[str] | str, dtype: torch.dtype) -> nn.Module:
    """The network with the linear layers that LoRA adapts in NF4; they compute in `dtype`.

    targets: as peft takes them. Raises SettingsError when the package is not installed.
    """
    package = _package("lora.base_4bit: true")
    linear = {name: module for name, module in network.named_modules() if type(module) is nn.Linear}
    for name, module in linear.items():
        if is_target(name, targets):
            small = package.nn.Linear4bit(
                module.in_features, module.out_features, module.bias is not None, compute_dtype=dtype,
                quant_type="nf4", device="meta",
            )  # fmt: skip
            small.weight = package.nn.Params4bit(
                module.weight.data, requires_grad=False, quant_type="nf4", module=small
            )
            small.bias = module.bias
            small.support_avx512bf16_for_cpu = False  # its layout for that has no gradient
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, small.to(module.weight.device))
    network.is_loaded_in_4bit = True  # by which peft knows
    return network


def adamw(parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW whose moments are kept in 8 bits; raises SettingsError when the package is not installed."""
    package = _package("train.optimizer: adamw8bit")
    return package.optim.AdamW8bit(parameters, lr=lr, weight_decay=weight_decay)
