"""Which hardware computes, and how: device, threads, precision and determinism."""

from __future__ import annotations

import contextlib
import os

import torch


def prepare(threads: int) -> torch.device:
    """CUDA where there is one, else the CPU. Results depend on the number of threads: it is a setting."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(word: str, device: torch.device) -> torch.dtype:
    """The dtype behind `auto`, `float32` or `bfloat16`; auto is bfloat16 on CUDA cards that have it."""
    if word == "auto":
        word = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return getattr(torch, word)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Mixed precision where `dtype` is below float32, else nothing."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
