"""Which hardware computes, and how: device, threads, precision and determinism."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from sotaque.errors import ModelError


def prepare(threads: int) -> torch.device:
    """CUDA where there is one, else the CPU. Results depend on the number of threads: it is a setting."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # What use_deterministic_algorithms does, without importing the compiler: a second of every job.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # all of it is overwritten
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(word: str, device: torch.device) -> torch.dtype:
    """The dtype of `float32`, `bfloat16` or `auto`, which is bfloat16 where the hardware computes in it."""
    if word == "auto":
        word = "bfloat16" if computes_bfloat16(device) else "float32"
    return getattr(torch, word)


def computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def speaking_dtype(device: torch.device) -> torch.dtype:
    """What a network speaks in."""
    return precision("auto", device)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Mixed precision where `dtype` is below float32, else nothing."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@contextlib.contextmanager
def enough_memory(word: str, way_out: str) -> Iterator[None]:
    """Raises ModelError, naming a stage and its way out, where memory for a tensor is lacking."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _lacks_memory(error):
            raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"out of memory in {word}: {said} {way_out}") from None


def _lacks_memory(error: RuntimeError) -> bool:
    """torch has a class of its own for a card, and none for a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
