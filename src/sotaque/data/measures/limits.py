"""The stable codes of what may be wrong with a clip, and the measure that each is told by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sotaque.data.measures.table import Table
from sotaque.settings import Quality


@dataclass(frozen=True)
class Limit:
    """A clip is flagged when its measure is beyond the limit; what was not measured is never beyond.

    setting: the key of params.yaml's section `quality` that holds the limit.
    """

    code: str
    measure: str
    exceeds: Callable[[np.ndarray, float], np.ndarray]
    setting: str

    def bound(self, wanted: Quality) -> float:
        return getattr(wanted, self.setting)

    def beyond(self, table: Table, bound: float) -> np.ndarray:
        """(N,) bool"""
        return self.exceeds(table.values[self.measure], bound)

    def badness(self, table: Table) -> np.ndarray:
        """(N,) higher for worse; NaN where nothing was measured."""
        values = table.values[self.measure]
        return -values if self.exceeds is below else np.abs(values)


def below(values: np.ndarray, bound: float) -> np.ndarray:
    return values < bound


def above(values: np.ndarray, bound: float) -> np.ndarray:
    return values > bound


def either_way(values: np.ndarray, bound: float) -> np.ndarray:
    return np.abs(values) > bound


LIMITS = (
    Limit("short", "duration_s", below, "min_duration_s"),
    Limit("long", "duration_s", above, "max_duration_s"),
    Limit("quiet", "source_loudness_lufs", below, "min_source_loudness_lufs"),
    Limit("held-back", "loudness_lufs", below, "min_loudness_lufs"),
    Limit("clipped", "clipped_share", above, "max_clipped_share"),
    Limit("dc-offset", "dc_offset", either_way, "max_dc_offset"),
    Limit("narrow-band", "bandwidth_hz", below, "min_bandwidth_hz"),
    Limit("noisy", "snr_db", below, "min_snr_db"),
    Limit("silence", "silence_share", above, "max_silence_share"),
    Limit("speaking-rate", "rate_z", either_way, "max_rate_z"),
    Limit("foreign-characters", "foreign_characters", above, "max_foreign_characters"),
    Limit("unknown-characters", "unknown_characters", above, "max_unknown_characters"),
    Limit("mistranscribed", "cer", above, "max_cer"),
    Limit("codec-loss", "codec_z", above, "max_codec_z"),
    Limit("duplicate-audio", "earlier_audio", above, "max_earlier_audio"),
    Limit("duplicate-text", "earlier_sentence", above, "max_earlier_sentence"),
)
BY_CODE = {limit.code: limit for limit in LIMITS}
