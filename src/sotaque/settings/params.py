"""The whole of params.yaml, read and checked."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sotaque import yaml_file
from sotaque.errors import SettingsError
from sotaque.settings.data import Corpus, Ingest, Measure, Normalize, Quality, Split, Survey, Tokenize
from sotaque.settings.evaluation import Compare, Evaluate, Report, Synthesize, Targets, Tracking
from sotaque.settings.mapping import abbreviate, build, number
from sotaque.settings.model import Fetch, Gate, Lora, Merge, Select, Train

MODELS = Path("workflow/models")
# Of a model: it is part of paths, commands, labels and wildcards.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Settings:
    model: str = "micro"
    seed: int = number(42, 0, 2**31 - 1)
    lr: float = number(1e-3, 0.0, 1.0)
    epochs: int = number(6, 1, 10_000)
    shards: int = number(4, 1, 10_000)
    lora: Lora = field(default_factory=Lora)
    targets: Targets = field(default_factory=Targets)
    corpus: Corpus = field(default_factory=Corpus)
    ingest: Ingest = field(default_factory=Ingest)
    normalize: Normalize = field(default_factory=Normalize)
    measure: Measure = field(default_factory=Measure)
    quality: Quality = field(default_factory=Quality)
    survey: Survey = field(default_factory=Survey)
    split: Split = field(default_factory=Split)
    fetch: Fetch = field(default_factory=Fetch)
    tokenize: Tokenize = field(default_factory=Tokenize)
    train: Train = field(default_factory=Train)
    gate: Gate = field(default_factory=Gate)
    select: Select = field(default_factory=Select)
    merge: Merge = field(default_factory=Merge)
    synthesize: Synthesize = field(default_factory=Synthesize)
    evaluate: Evaluate = field(default_factory=Evaluate)
    report: Report = field(default_factory=Report)
    compare: Compare = field(default_factory=Compare)
    tracking: Tracking = field(default_factory=Tracking)


def read(path: Path, name: str | None = None) -> Settings:
    """Read and check params.yaml, called `name` in messages; raises SettingsError (exit status 2)."""
    return of(yaml_file.read(path), name or str(path))


def of(values: Any, name: str) -> Settings:
    """Check the parsed content of params.yaml, called `name` in messages."""
    settings = build(Settings, {} if values is None else values, name)
    check(settings, name)
    return settings


def check(settings: Settings, name: str) -> None:
    """What no single field can say."""
    known = sorted(p.stem for p in MODELS.glob("*.yaml") if NAME.fullmatch(p.stem))
    for key, models in {"model": [settings.model], "compare.models": settings.compare.models}.items():
        for model in models:
            if not NAME.fullmatch(model):
                raise SettingsError(
                    f"{name}: {key} is {abbreviate(model)}, expected at most 64 of the letters a to z, "
                    "digits, '.', '_' and '-', the first a letter, digit or '_'; give its file such a name"
                )
    if settings.model not in known:
        raise SettingsError(
            f"{name}: model is {settings.model!r}, allowed: {', '.join(known)} (the files of {MODELS}/)"
        )
    if settings.split.val_share + settings.split.test_share >= 1:
        raise SettingsError(
            f"{name}: split.val_share {settings.split.val_share} and split.test_share "
            f"{settings.split.test_share} leave nothing to train on; their sum must be below 1"
        )
    if settings.normalize.min_s >= settings.normalize.max_s:
        raise SettingsError(
            f"{name}: normalize.min_s {settings.normalize.min_s} must be below "
            f"normalize.max_s {settings.normalize.max_s}"
        )
    if not _is_folder_name(settings.ingest.corpus):
        inner = PurePosixPath(settings.ingest.corpus).name
        if "/" in settings.ingest.corpus and _is_folder_name(inner):
            raise SettingsError(
                f"{name}: ingest.corpus is {abbreviate(settings.ingest.corpus)}, expected the name of a "
                f"folder under data/raw/, without a slash; write {inner}, and put the corpus "
                f"in data/raw/{inner}"
            )
        raise SettingsError(
            f"{name}: ingest.corpus is {abbreviate(settings.ingest.corpus)}, expected the name of a folder "
            "under data/raw/, without a slash or control characters, of at most 255 bytes; rename the folder"
        )
    train = settings.train
    if train.shard and (train.method != "full" or train.processes == 1 or settings.gate.step):
        raise SettingsError(
            f"{name}: train.shard is true, which is for train.method: full, train.processes of 2 and more, "
            "and gate.step: 0; set it to false"
        )
    if train.shard and train.optimizer == "adamw8bit":
        raise SettingsError(
            f"{name}: train.optimizer is adamw8bit, whose moments cannot be divided as train.shard "
            "asks; set optimizer: adamw or shard: false"
        )
    if settings.lora.base_4bit and train.method == "full":
        raise SettingsError(
            f"{name}: lora.base_4bit is true, which is for train.method: lora; set one of the two otherwise"
        )


def _is_folder_name(name: str) -> bool:
    """Whether any file system of ours can have a folder of this name; spaces and quotes are allowed."""
    if name in ("", ".", "..") or "/" in name:
        return False
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        return False
    return len(name.encode()) <= 255
