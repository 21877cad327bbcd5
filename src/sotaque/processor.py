"""Which processor this is, by Linux's /proc/cpuinfo."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Those by which libraries choose how to compute a product, from the oldest.
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")


def describe() -> str:
    """As in "AMD EPYC, family 25, model 1 (avx2)": a name alone may stand for several generations."""
    fields = _fields()
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [
        f"{key.removeprefix('cpu ')} {fields[key]}" for key in ("cpu family", "model") if key in fields
    ]
    sets = instruction_sets()
    return ", ".join([name, *numbers]) + (f" ({' '.join(sets)})" if sets else "")


def instruction_sets() -> tuple[str, ...]:
    """Those of INSTRUCTION_SETS that it has; none where there is no /proc/cpuinfo."""
    flags = _fields().get("flags", "").split()
    return tuple(name for name in INSTRUCTION_SETS if name in flags)


@functools.cache
def _fields() -> dict[str, str]:
    """What stands in CPUINFO of the first core."""
    if not CPUINFO.exists():
        return {}
    first_core = CPUINFO.read_text(encoding="utf-8").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first_core.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
