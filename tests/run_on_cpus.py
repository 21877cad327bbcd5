"""Run the tests that compute as older processors would compute them, and print a table.

    python tests/run_on_cpus.py [--setting NAME]... [TEST_FILE]...

oneDNN, ATen, numba, MKL and OpenBLAS each choose their code by the processor, and another choice gives other
last bits. Environment variables hold them to older instruction sets, which this processor must have.
The status is 1 when a test fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sotaque import processor

TESTS = Path(__file__).parent
COMPUTES = re.compile(r"^ *(?:import|from) (?:torch|numba|silero_vad|tiny\w*|families|spoken)\b", re.M)


@dataclass(frozen=True)
class Setting:
    """needs: the instruction set without which a variable has no effect; "" where any processor serves."""

    name: str
    variables: dict[str, str]
    needs: str = ""


SETTINGS = (
    Setting("as it is", {}),
    Setting("two threads", {"OMP_NUM_THREADS": "2"}),
    Setting("oneDNN SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Setting("oneDNN AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "avx2"),
    Setting("oneDNN AVX-512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "avx512f"),
    Setting("oneDNN AVX-512 bfloat16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "avx512_bf16"),
    Setting("oneDNN AMX", {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512_AMX"}, "amx_bf16"),
    Setting("ATen without vectors", {"ATEN_CPU_CAPABILITY": "default"}),
    Setting("ATen AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, "avx2"),
    Setting("ATen AVX-512", {"ATEN_CPU_CAPABILITY": "avx512"}, "avx512f"),
    Setting("numba generic", {"NUMBA_CPU_NAME": "generic"}),
    Setting("numba AVX2", {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}, "avx2"),
    Setting("MKL compatible", {"MKL_CBWR": "COMPATIBLE"}),
    Setting("OpenBLAS Nehalem", {"OPENBLAS_CORETYPE": "Nehalem"}),
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--setting", action="append", choices=names, help="run this one; may be repeated")
    parser.add_argument("files", nargs="*", type=Path, help="test files; all that compute if none is named")
    options = parser.parse_args(arguments)
    files = options.files or computing_files()
    chosen = [setting for setting in SETTINGS if setting.name in (options.setting or names)]
    rows, failures = [], []
    for setting in chosen:
        row, failed = run(setting, files)
        rows.append(row)
        failures += [f"{setting.name}: {name}" for name in failed]
        print(row, flush=True)
    print(f"\n{processor.describe()}\n")
    print("\n".join(["| setting | variables | passed | failed |", "|---|---|---|---|", *rows]))
    print("".join(f"\n{failure}" for failure in failures))
    return 1 if failures else 0


def computing_files() -> list[Path]:
    """The test files that import what computes, directly or through the tests' own helpers."""
    return [path for path in sorted(TESTS.glob("test_*.py")) if COMPUTES.search(path.read_text("utf-8"))]


def run(setting: Setting, files: Sequence[Path]) -> tuple[str, list[str]]:
    """The row of a setting, and the names of the tests that failed."""
    variables = " ".join(f"{name}={value}" for name, value in setting.variables.items())
    start = f"| {setting.name} | {variables} |"
    if setting.needs and setting.needs not in processor.instruction_sets():
        return f"{start} not run: this processor has no {setting.needs} | |", []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *map(str, files)]
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{folder}/numba"} | setting.variables
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1) or not report.exists():  # pytest's: all passed, some failed
            last = (done.stdout.splitlines() or [""])[-1]
            return f"{start} ended with status {done.returncode} | |", [f"status {done.returncode}: {last}"]
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case for case in cases if has(case, "failure", "error")]
    skipped = [case for case in cases if has(case, "skipped")]
    passed = len(cases) - len(failed) - len(skipped)
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    return f"{start} {passed} | {len(failed)} |", names


def has(case: ElementTree.Element, *kinds: str) -> bool:
    return any(case.find(kind) is not None for kind in kinds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
