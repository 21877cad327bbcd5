"""A whole network divided among the processes (FSDP): each keeps its part of weights, gradients and moments.

Source: Zhao et al., PyTorch FSDP, arXiv:2304.11277; here by torch's own fully_shard.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def divided(module: nn.Module, processes: int, device: torch.device) -> nn.Module:
    """The module, whose layers come together one by one when they compute, and part again."""
    mesh = init_device_mesh(device.type, (processes,))
    layers = [layer for found in module.modules() if isinstance(found, nn.ModuleList) for layer in found]
    for part in (*reversed(layers), module):  # what lies within another comes first
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    return module


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor; where it is divided, every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Iterable[tuple[str, torch.Tensor]], keep: bool) -> dict[str, torch.Tensor]:
    """Copies of all, whole and on the CPU, for a process that keeps them; every process must ask."""
    found = {}
    for name, tensor in tensors:
        one = whole(tensor.detach())
        if keep:
            found[name] = one.to("cpu", copy=True).contiguous()
    return found


def part(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that every process has, divided as `like` is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    there = tensor.to(like.device, like.dtype)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)
