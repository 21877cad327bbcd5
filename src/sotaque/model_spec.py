"""workflow/models/<model>.yaml: which backend, where its parts come from, and its defaults."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from sotaque import settings as settings_module
from sotaque import yaml_file
from sotaque.backends.families import FAMILIES
from sotaque.errors import SettingsError
from sotaque.settings import Settings, abbreviate

OWN = ("generation", "learning")  # sections that each family has in its own way
ORIGINS = ("folder", "hub", "whisper")  # a part comes from one of them
PLACEHOLDER = "FOLDER"  # what the shipped files say where a folder is to be named
# Of one part: a few dozen files; the largest network trained here takes a tenth of the bytes.
MAX_FILES, MAX_BYTES = 1000, 2**37


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
    generation, learning: the dataclasses of the backend's family.
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
    learning: Any = None


def path_of(model: str) -> Path:
    return settings_module.MODELS / f"{model}.yaml"


def read(model: str) -> ModelSpec:
    """Read workflow/models/<model>.yaml; raises SettingsError naming the key at fault."""
    path = path_of(model)
    spec = _build(yaml_file.read(path), path)
    faults, unnamed = [], []
    base = Path("models") / model / "base"
    for part in ("network", "codec", "asr"):
        source = getattr(spec, part)
        named = [key for key in ORIGINS if getattr(source, key) is not None]
        if len(named) != 1:
            raise SettingsError(
                f"{path}: {part} must name exactly one of {', '.join(ORIGINS)}; "
                f"it names {' and '.join(named) or 'none'}"
            )
        if not getattr(source, named[0]).strip():
            raise SettingsError(
                f"{path}: {part}.{named[0]} is empty; write what it is, or name another origin"
            )
        for pattern in source.files:
            if not PurePath(pattern).parts:
                raise SettingsError(
                    f"{path}: {part}.files holds {pattern!r}, expected patterns of file names"
                )
        if source.folder not in (None, PLACEHOLDER):
            _check_folder(Path(source.folder), base, f"{path}: {part}.folder is {abbreviate(source.folder)}")
        if source.whisper and part != "asr":
            raise SettingsError(
                f"{path}: {part}.whisper is {abbreviate(source.whisper)}, and only asr can be a Whisper "
                f"checkpoint; write {{folder: PATH}}, or hub and revision"
            )
        if source.hub and not re.fullmatch("[0-9a-f]{40}", source.revision or ""):
            faults.append(f"{part}.hub is {abbreviate(source.hub)} at revision {abbreviate(source.revision)}")
        if source.folder == PLACEHOLDER:
            unnamed.append(f"{part}.folder is {PLACEHOLDER}")
    if unnamed:
        raise SettingsError(
            f"{path}: {' and '.join(unnamed)}, which stands for a folder of yours: bring the files there as "
            f"the head of {path} says, and write its path instead"
        )
    if faults:
        raise SettingsError(
            f"{path}: {' and '.join(faults)}, that is, without a revision pinned to a commit: expected 40 "
            f"hexadecimal digits, as the repository's page shows them; edit {path}, whose head says how, or "
            "write {folder: PATH} in place of hub and revision"
        )
    return spec


def _check_folder(folder: Path, base: Path, found: str) -> None:
    """Raise SettingsError for a folder that is no part of a model: all of it would be hashed and copied.

    base: where `fetch` writes. found: the beginning of the message.
    """
    fix = "name the folder that holds the files of this part alone"
    try:
        resolved, out = folder.resolve(), base.resolve()
        if out.is_relative_to(resolved) or resolved.is_relative_to(out):
            raise SettingsError(
                f"{found}, which holds {base}, where the part is copied to, or lies in it; {fix}"
            )
        if Path.cwd().is_relative_to(resolved):
            raise SettingsError(f"{found}, which holds the whole project; {fix}")
        walk = os.walk(folder) if folder.is_dir() else ()
        inside = (os.path.join(at, name) for at, folders, names in walk for name in (*folders, *names))
        paths = list(itertools.islice(inside, MAX_FILES + 1))
        size = sum(os.stat(path).st_size for path in paths if os.path.isfile(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{found}, which cannot be looked at: {error}; {fix}") from None
    if len(paths) > MAX_FILES or size > MAX_BYTES:
        raise SettingsError(
            f"{found}, which holds at least {len(paths)} entries of {size} bytes; a part has at most "
            f"{MAX_FILES} of {MAX_BYTES} bytes; {fix}"
        )


def of(settings: Settings) -> ModelSpec:
    """The file of `settings.model`; raises SettingsError too for parameters that its family cannot have."""
    spec, path = read(settings.model), path_of(settings.model)
    if settings.tokenize.drop_repeated_frames and FAMILIES[spec.backend].reads_codes:
        raise SettingsError(
            f"params.yaml: tokenize.drop_repeated_frames is true, but {spec.backend}, the backend of {path}, "
            "reads a reference's frames too: it would learn after shortened ones and speak after whole ones; "
            "set it to false"
        )
    return spec


def _build(values: Any, path: Path) -> ModelSpec:
    """`generation` and `learning` are checked against the dataclasses of the backend that the file names."""
    plain = {k: v for k, v in values.items() if k not in OWN} if isinstance(values, dict) else values
    spec = settings_module.build(ModelSpec, plain, str(path))
    if spec.backend not in FAMILIES:
        raise SettingsError(f"{path}: backend is {abbreviate(spec.backend)}, allowed: {', '.join(FAMILIES)}")
    if not spec.lora_targets:
        raise SettingsError(
            f"{path}: lora_targets is empty, so nothing would be adapted; expected names of modules, such as "
            "[q_proj, v_proj], or one regular expression"
        )
    try:
        re.compile(spec.lora_targets if isinstance(spec.lora_targets, str) else "")
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(
            f"{path}: lora_targets is {abbreviate(spec.lora_targets)}, expected a list of module names or a "
            f"regular expression, and this is none: {error}"
        ) from None
    kinds = {key: getattr(FAMILIES[spec.backend], key) for key in OWN}
    given = {key: {} if values.get(key) is None else values[key] for key in OWN}
    chosen = {key: settings_module.build(kinds[key], given[key], str(path), key) for key in OWN}
    return dataclasses.replace(spec, **chosen)
