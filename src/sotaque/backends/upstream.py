"""Packages of model families that `make backends` installs: imported, with what they take for granted.

torchaudio's wheel is built for CUDA and cannot be imported where libc10_cuda.so is missing. What is used of
it, kaldi's fbank, Resample and Spectrogram, is Python; so it is imported without its compiled part, as
it is by itself where that file is not shipped (torchaudio/_extension/utils.py, _load_lib).

perth asks pkg_resources, which setuptools 82 removed, where its weights lie, and where the answer fails it
hides its watermarker instead of saying so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

from sotaque.errors import ModelError


def load(module: str, family: str) -> types.ModuleType:
    """Import a module of a package; raises ModelError with the command to type where it is not installed."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise ModelError(
            f"the {family} models need the package {package}, which is not installed; type: make backends"
        )
    _without_compiled_torchaudio()
    _with_pkg_resources()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(
            f"the {family} models need {module}, which cannot be imported: {error}; type: make backends"
        ) from None


def _without_compiled_torchaudio() -> None:
    """What torchaudio._extension defines where there is no compiled part, put there before it looks."""
    if "torchaudio" in sys.modules:
        return
    extension = types.ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
    extension._IS_ALIGN_AVAILABLE = False
    extension.fail_if_no_align = _fail_if_no_align
    sys.modules["torchaudio._extension"] = extension


def _fail_if_no_align(function):
    def fail(*_args, **_kwargs):
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled part, which is not imported")

    return fail


def _with_pkg_resources() -> None:
    """The one function that perth asks of it, where setuptools has it no more."""
    if importlib.util.find_spec("pkg_resources") is None:
        resources = types.ModuleType("pkg_resources")
        resources.__spec__ = importlib.util.spec_from_loader("pkg_resources", loader=None)
        resources.resource_filename = _resource_filename
        sys.modules["pkg_resources"] = resources


def _resource_filename(package: str, name: str) -> str:
    return str(Path(importlib.util.find_spec(package).origin).parent / name)
