"""workflow/models/<model>.yaml: which backend, where its parts come from, and its defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sotaque import settings, yaml_file
from sotaque.errors import SettingsError


@dataclass(frozen=True)
class Source:
    """Where one part comes from: a local `folder`, a `hub` repository or a named openai-`whisper` checkpoint.

    sha256: file name -> checksum; every listed file must be there and agree.
    """

    folder: str | None = None
    hub: str | None = None
    whisper: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    temperature: float = settings.number(0.6, 0.0, 5.0)
    top_p: float = settings.number(0.9, 0.01, 1.0)
    repetition_penalty: float = settings.number(1.1, 0.5, 5.0)
    max_s: float = settings.number(14.6, 0.1, 600.0)


@dataclass(frozen=True)
class ModelSpec:
    """about: one sentence for the report: what this model is and what may be expected of it."""

    backend: Literal["orpheus"]
    about: str
    weights_licence: str
    sample_rate_hz: int
    network: Source
    codec: Source
    asr: Source
    lora_targets: tuple[str, ...]
    generation: Generation = Generation()


def path_of(model: str) -> Path:
    return settings.MODELS / f"{model}.yaml"


def read(model: str) -> ModelSpec:
    """Read workflow/models/<model>.yaml; raises SettingsError naming the key at fault."""
    path = path_of(model)
    spec = settings.build(ModelSpec, yaml_file.read(path), str(path))
    faults = []
    for part in ("network", "codec", "asr"):
        source = getattr(spec, part)
        if sum(x is not None for x in (source.folder, source.hub, source.whisper)) != 1:
            raise SettingsError(f"{path}: {part} must name exactly one of folder, hub, whisper")
        if source.hub and not re.fullmatch("[0-9a-f]{40}", source.revision or ""):
            faults.append(f"{part}.hub is {source.hub!r} at revision {source.revision!r}")
    if faults:
        raise SettingsError(
            f"{path}: {' and '.join(faults)}, that is, without a revision pinned to a commit: expected 40 "
            f"hexadecimal digits, as the repository's page shows them; edit {path}, whose head says how, or "
            "write {folder: PATH} in place of hub and revision"
        )
    return spec
