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
    fields, sets = _fields(), " ".join(instruction_sets())
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f", family {fields['cpu family']}, model {fields['model']}"
    return f"{name} ({sets})" if sets else name


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
