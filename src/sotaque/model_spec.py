"""workflow/models/<model>.yaml: which backend, where its parts come from, and its defaults."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sotaque import settings, yaml_file
from sotaque.backends.families import FAMILIES
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
class ModelSpec:
    """about: one sentence for the report: what this model is and what may be expected of it.

    lora_targets: names of modules, or one regular expression over their whole paths, as peft takes them.
    generation: the dataclass of the backend's family.
    """

    backend: str
    about: str
    weights_licence: str
    sample_rate_hz: int
    network: Source
    codec: Source
    asr: Source
    lora_targets: tuple[str, ...] | str
    generation: Any = None


def path_of(model: str) -> Path:
    return settings.MODELS / f"{model}.yaml"


def read(model: str) -> ModelSpec:
    """Read workflow/models/<model>.yaml; raises SettingsError naming the key at fault."""
    path = path_of(model)
    spec = _build(yaml_file.read(path), path)
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


def _build(values: Any, path: Path) -> ModelSpec:
    """`generation` is checked against the dataclass of the backend that the same file names."""
    plain = {k: v for k, v in values.items() if k != "generation"} if isinstance(values, dict) else values
    spec = settings.build(ModelSpec, plain, str(path))
    if spec.backend not in FAMILIES:
        raise SettingsError(f"{path}: backend is {spec.backend!r}, allowed: {', '.join(FAMILIES)}")
    try:
        re.compile(spec.lora_targets if isinstance(spec.lora_targets, str) else "")
    except re.error as error:
        raise SettingsError(
            f"{path}: lora_targets is {spec.lora_targets!r}, expected a list of module names or a regular "
            f"expression, and this is none: {error}"
        ) from None
    kind = FAMILIES[spec.backend].generation
    chosen = settings.build(kind, values.get("generation") or {}, str(path), "generation")
    return dataclasses.replace(spec, generation=chosen)
