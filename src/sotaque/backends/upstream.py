"""Packages of model families that `make backends` installs: imported, with what they take for granted.

perth asks pkg_resources, which setuptools 82 removed, where its weights lie, and where that fails it hides
its watermarker instead of saying so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from pathlib import Path

from sotaque.errors import ModelError

# What they call, and are told about with every clip.
DEPRECATED = ("`LoRACompatibleLinear`", r"`torch\.backends\.cuda\.sdp_kernel\(\)`")


def load(module: str) -> types.ModuleType:
    """Import a module of such a package; raises ModelError with the command to type where that fails."""
    _with_pkg_resources()
    for deprecated in DEPRECATED:
        warnings.filterwarnings("ignore", message=deprecated, category=FutureWarning)
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a compiled part whose libraries are not here
        raise ModelError(f"{module} cannot be imported: {error}; type: make backends") from None


def _with_pkg_resources() -> None:
    """The one function that perth asks of it, where setuptools has it no more."""
    if importlib.util.find_spec("pkg_resources") is None:
        resources = types.ModuleType("pkg_resources")
        resources.__spec__ = importlib.util.spec_from_loader("pkg_resources", loader=None)
        resources.resource_filename = _resource_filename
        sys.modules["pkg_resources"] = resources


def _resource_filename(package: str, name: str) -> str:
    return str(Path(importlib.util.find_spec(package).origin).parent / name)
