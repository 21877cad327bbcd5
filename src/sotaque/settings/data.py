"""The sections of the corpus: from a folder of recordings to the codec's tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sotaque import languages
from sotaque.languages import CODES
from sotaque.settings.mapping import number

Code = Literal[
    "short", "long", "quiet", "held-back", "clipped", "dc-offset", "narrow-band", "noisy",
    "silence", "speaking-rate", "foreign-characters", "unknown-characters", "mistranscribed", "codec-loss",
    "duplicate-audio", "duplicate-text",
]  # fmt: skip
# In the order in which `auto` asks, the most particular first; each is a file of data/layouts/.
Layout = Literal[
    "auto",
    "chatterbox",
    "ljspeech",
    "common-voice",
    "openslr",
    "vctk",
    "librispeech",
    "kaldi",
    "lhotse",
    "audiofolder",
    "jsonl",
    "parquet",
    "two-columns",
    "fish",
]

# What a column of a listing may be; data/layouts/columns.py knows their names.
Field = Literal[
    "id", "audio", "text", "speaker", "language", "accent", "gender", "part", "group", "start", "end",
    "duration",
]  # fmt: skip

Encoding = Literal["utf-8", "cp1252", "latin-1", "iso-8859-15", "mac-roman", "cp850", "cp1256", "iso-8859-6"]


def _suggest_code(name: str) -> str:
    """The code of a language that is written otherwise: `pt-BR` -> `pt`; "" for none."""
    language = languages.find(name)
    return language.code if language else ""


_LANGUAGE = {"suggest": _suggest_code}


@dataclass(frozen=True)
class Corpus:
    accent: Literal["pt-br", "es-mx", "en-gb"] = "pt-br"
    train_clips: int = number(400, 4, 100_000)
    test_clips: int = number(40, 2, 10_000)
    novel_clips: int = number(20, 0, 10_000)
    wrong_texts: bool = False


@dataclass(frozen=True)
class Ingest:
    corpus: str = "demo"
    layout: Layout = "auto"
    encoding: Encoding = "utf-8"
    language: Literal[CODES] = field(default="pt", metadata=_LANGUAGE)  # type: ignore[valid-type]
    speaker: str = "speaker"
    columns: dict[Field, int | str] = field(default_factory=dict)
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
class Tokenize:
    drop_repeated_frames: bool = False
    batch_s: float = number(60.0, 1.0, 3600.0)
