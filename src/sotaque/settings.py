"""params.yaml as frozen dataclasses: one per section, one field per key.

An unknown key, a wrong type or a bad range stops here, by name, before anything is touched.
Reasons for the defaults stand in params.yaml, beside the values.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sotaque import yaml_file
from sotaque.errors import SettingsError

MODELS = Path("workflow/models")


# In the order in which `auto` asks, the most particular first; each is a file of data/layouts/.
Code = Literal[
    "short", "long", "quiet", "held-back", "clipped", "dc-offset", "narrow-band", "noisy",
    "silence", "speaking-rate", "foreign-characters", "unknown-characters", "mistranscribed", "codec-loss",
    "duplicate-audio", "duplicate-text",
]  # fmt: skip
Layout = Literal[
    "auto",
    "chatterbox",
    "ljspeech",
    "common-voice",
    "openslr",
    "vctk",
    "librispeech",
    "kaldi",
    "audiofolder",
    "jsonl",
    "parquet",
    "two-columns",
    "fish",
]

Encoding = Literal["utf-8", "cp1252", "latin-1", "iso-8859-15", "mac-roman", "cp850", "cp1256", "iso-8859-6"]


def number(default: float, low: float, high: float) -> Any:
    """A field whose value must lie in [low, high]."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class Lora:
    rank: int = number(32, 1, 1024)
    alpha: int = number(64, 1, 4096)
    dropout: float = number(0.0, 0.0, 0.9)
    rslora: bool = False
    dora: bool = False
    modules_to_save: tuple[str, ...] = ()
    base_4bit: bool = False


@dataclass(frozen=True)
class Targets:
    wer: float = number(0.15, 0.0, 10.0)
    mos: float = number(3.5, 1.0, 5.0)
    similarity: float = number(0.85, -1.0, 1.0)
    rtf: float = number(1.0, 0.0, 1000.0)


@dataclass(frozen=True)
class Corpus:
    accent: Literal["pt-br", "es-mx", "en-gb"] = "pt-br"
    train_clips: int = number(400, 8, 100_000)
    test_clips: int = number(40, 2, 10_000)
    novel_clips: int = number(20, 0, 10_000)
    wrong_texts: bool = False


@dataclass(frozen=True)
class Ingest:
    corpus: str = "demo"
    layout: Layout = "auto"
    encoding: Encoding = "utf-8"
    language: Literal["pt", "es", "en", "ar"] = "pt"
    speaker: str = "speaker"
    max_rejected_share: float = number(0.05, 0.0, 1.0)


@dataclass(frozen=True)
class Normalize:
    loudness_lufs: float = number(-23.0, -70.0, -5.0)
    peak_dbfs: float = number(-1.0, -20.0, 0.0)
    high_pass_hz: float = number(0.0, 0.0, 500.0)
    trim: Literal["level", "vad"] = "level"
    trim_below_peak_db: float = number(45.0, 10.0, 90.0)
    trim_margin_s: float = number(0.05, 0.0, 2.0)
    cut_margin_s: float = number(0.1, 0.0, 2.0)
    min_s: float = number(0.4, 0.4, 60.0)
    max_s: float = number(30.0, 1.0, 600.0)
    min_characters_per_s: float = number(0.5, 0.0, 100.0)
    max_characters_per_s: float = number(40.0, 1.0, 1000.0)
    max_decode_s: float = number(60.0, 1.0, 3600.0)
    max_decode_mb: int = number(800, 16, 65_536)


@dataclass(frozen=True)
class Measure:
    asr: bool = False
    codec: bool = False
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Quality:
    min_duration_s: float = number(1.0, 0.0, 60.0)
    max_duration_s: float = number(20.0, 0.0, 600.0)
    min_source_loudness_lufs: float = number(-45.0, -70.0, 0.0)
    min_loudness_lufs: float = number(-24.0, -70.0, 0.0)
    max_clipped_share: float = number(0.001, 0.0, 1.0)
    max_dc_offset: float = number(0.01, 0.0, 1.0)
    min_bandwidth_hz: float = number(9000.0, 0.0, 192_000.0)
    min_snr_db: float = number(15.0, -20.0, 100.0)
    max_silence_share: float = number(0.4, 0.0, 1.0)
    max_rate_z: float = number(3.5, 0.0, 1000.0)
    max_foreign_characters: float = number(0.0, 0.0, 10_000.0)
    max_unknown_characters: float = number(0.0, 0.0, 10_000.0)
    max_cer: float = number(0.3, 0.0, 10.0)
    max_codec_z: float = number(3.5, 0.0, 1000.0)
    max_earlier_audio: float = number(0.0, 0.0, 1_000_000.0)
    max_earlier_sentence: float = number(0.0, 0.0, 1_000_000.0)
    drop: dict[Code, float] = field(default_factory=lambda: {"duplicate-audio": 0.0})
    max_dropped_share: float = number(0.3, 0.0, 1.0)


@dataclass(frozen=True)
class Survey:
    clips: int = number(3, 1, 100)


@dataclass(frozen=True)
class Split:
    by: Literal["text", "speaker"] = "text"
    val_share: float = number(0.05, 0.0, 0.9)
    test_share: float = number(0.05, 0.0, 0.9)


@dataclass(frozen=True)
class Fetch:
    offline: bool = False


@dataclass(frozen=True)
class Tokenize:
    drop_repeated_frames: bool = False
    batch_s: float = number(60.0, 1.0, 3600.0)


@dataclass(frozen=True)
class Train:
    method: Literal["lora", "full"] = "lora"
    batch_clips: int = number(4, 1, 4096)
    accumulate: int = number(1, 1, 4096)
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = number(0.05, 0.0, 1.0)
    weight_decay: float = number(0.0, 0.0, 1.0)
    clip_norm: float = number(1.0, 0.0, 1000.0)
    max_failed_steps: int = number(3, 1, 1_000_000)
    save_every_steps: int = number(100, 1, 1_000_000)
    patience: int = number(0, 0, 1_000_000)
    max_tokens: int = number(2048, 16, 131_072)
    mask_prompt: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    packing: bool = False
    processes: int = number(1, 1, 1024)
    shard: bool = False
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Gate:
    step: int = number(0, 0, 1_000_000_000)
    clips: int = number(4, 1, 1000)
    wer: float = number(0.9, 0.0, 10.0)


@dataclass(frozen=True)
class Select:
    clips: int = number(8, 1, 1000)


@dataclass(frozen=True)
class Merge:
    tolerance: float = number(1e-3, 0.0, 1.0)


@dataclass(frozen=True)
class Synthesize:
    batch_clips: int = number(20, 1, 1024)
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Evaluate:
    bootstrap_samples: int = number(1000, 100, 100_000)
    reference_clips: int = number(10, 1, 1000)
    speed_clips: int = number(4, 1, 100)
    threads: int = number(1, 1, 256)


@dataclass(frozen=True)
class Report:
    clips: int = number(24, 1, 10_000)


@dataclass(frozen=True)
class Compare:
    models: tuple[str, ...] = ("micro",)
    clips: int = number(5, 1, 1000)


@dataclass(frozen=True)
class Tracking:
    enabled: bool = True
    experiment: str = "sotaque"
    also: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()


@dataclass(frozen=True)
class Settings:
    model: str = "micro"
    seed: int = number(42, 0, 2**31 - 1)
    lr: float = number(1e-3, 0.0, 1.0)
    epochs: int = number(6, 1, 10_000)
    shards: int = number(4, 1, 10_000)
    lora: Lora = Lora()
    targets: Targets = Targets()
    corpus: Corpus = Corpus()
    ingest: Ingest = Ingest()
    normalize: Normalize = Normalize()
    measure: Measure = Measure()
    quality: Quality = Quality()
    survey: Survey = Survey()
    split: Split = Split()
    fetch: Fetch = Fetch()
    tokenize: Tokenize = Tokenize()
    train: Train = Train()
    gate: Gate = Gate()
    select: Select = Select()
    merge: Merge = Merge()
    synthesize: Synthesize = Synthesize()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    compare: Compare = Compare()
    tracking: Tracking = Tracking()


def build(kind: type, values: Any, name: str, where: str = "") -> Any:
    """A dataclass of `kind` from a mapping; `name` is the file, `where` the dotted key so far.

    Raises SettingsError naming the key, the value found and what is allowed.
    """
    if not isinstance(values, dict):
        raise SettingsError(
            f"{name}: {where or 'the file'} is {values!r}, expected a mapping of keys to values"
        )
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; allowed here: {', '.join(fields)}"
            raise SettingsError(f"{name}: unknown key {_dotted(where, key)}: {values[key]!r}{hint}")
    missing = [
        f.name
        for f in fields.values()
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in values
    ]
    if missing:
        raise SettingsError(f"{name}: {_dotted(where, missing[0])} is missing; it must be given")
    built = {
        key: _convert(hints[key], value, name, _dotted(where, key), fields[key].metadata.get("range"))
        for key, value in values.items()
    }
    return kind(**built)


def _dotted(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _convert(kind: Any, value: Any, name: str, where: str, bounds: tuple[float, float] | None) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value if value is not None else {}, name, where)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return _convert(type(value) if type(value) in kinds else kinds[0], value, name, where, bounds)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise SettingsError(f"{name}: {where} is {value!r}, allowed: {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise SettingsError(f"{name}: {where} is {value!r}, expected a list")
        return tuple(_convert(arguments[0], v, name, f"{where}[{i}]", bounds) for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SettingsError(f"{name}: {where} is {value!r}, expected a mapping")
        keys = [_convert(arguments[0], str(key), name, f"a key of {where}", None) for key in value]
        items = zip(keys, value.values(), strict=True)
        return {k: _convert(arguments[1], v, name, _dotted(where, k), bounds) for k, v in items}
    return _scalar(kind, value, name, where, bounds)


def _scalar(kind: type, value: Any, name: str, where: str, bounds: tuple[float, float] | None) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        word = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[kind]
        raise SettingsError(f"{name}: {where} is {value!r}, expected {word}")
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise SettingsError(f"{name}: {where} is {value!r}, allowed: {bounds[0]} to {bounds[1]}")
    return value


def read(path: Path, name: str | None = None) -> Settings:
    """Read and check params.yaml, called `name` in messages; raises SettingsError (exit status 2)."""
    name = name or str(path)
    values = yaml_file.read(path)
    settings = build(Settings, {} if values is None else values, name)
    check(settings, name)
    return settings


def check(settings: Settings, name: str) -> None:
    """What no single field can say."""
    known = sorted(p.stem for p in MODELS.glob("*.yaml"))
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
    if settings.ingest.corpus in ("", ".", "..") or "/" in settings.ingest.corpus:
        raise SettingsError(
            f"{name}: ingest.corpus is {settings.ingest.corpus!r}, expected the name of a folder "
            "under data/raw/, without a slash"
        )
    train = settings.train
    if train.shard and (train.method != "full" or train.processes == 1 or settings.gate.step):
        raise SettingsError(
            f"{name}: train.shard is true, which is for train.method: full, train.processes of 2 and more, "
            "and gate.step: 0; set it to false"
        )
    if settings.lora.base_4bit and train.method == "full":
        raise SettingsError(
            f"{name}: lora.base_4bit is true, which is for train.method: lora; set one of the two otherwise"
        )


def lookup(settings: Any, dotted: str) -> Any:
    """The plain value (dicts, lists, numbers, words) of a dotted key such as `train.lr` or `lora`."""
    value: Any = settings
    for part in dotted.split("."):
        value = getattr(value, part)
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return json.loads(json.dumps(plain))
