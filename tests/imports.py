"""Which modules of the package a module imports, itself and through others, wherever the import stands."""

import ast
import functools
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "src/sotaque"


@functools.cache
def direct(name: str) -> frozenset[str]:
    """Files, relative to the package, that the file `name` imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sotaque":
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "sotaque"}
    return frozenset(path for module in found if (path := _file(module)))


def _file(module: str) -> str | None:
    stem = Path(*module.split(".")[1:])
    for path in (stem.with_suffix(".py") if stem.name else None, stem / "__init__.py"):
        if path and (PACKAGE / path).is_file() and (PACKAGE / path).read_text().strip():
            return path.as_posix()
    return None


def closure(name: str) -> set[str]:
    """All that a module imports. What the settings import says which values are allowed, and no more."""
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += [] if current.startswith("settings/") else direct(current)
    return seen
