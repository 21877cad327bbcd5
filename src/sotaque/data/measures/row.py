"""One clip in numbers: a row of data/measures/<shard>.jsonl."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measures:
    """None stands for what was not measured.

    duration_s, loudness_lufs, bandwidth_hz, snr_db, silence_share, characters_per_s: of the normalised clip.
    source_loudness_lufs, peak_dbfs, clipped_share, dc_offset: of the recording that it was made from.
    foreign_characters: different ones in the text that its language does not write.
    unknown_characters: characters of the text that the model's tokenizer cannot write.
    cer, heard: what the model's ASR made of the clip, where measure.asr asks for it.
    codec_distance_db: between the clip and its round trip, where measure.codec asks for it.
    samples_sha256: of the 16-bit samples; sentence_sha256: of speaker and normalised text.
    """

    id: str
    speaker: str
    language: str
    accent: str
    duration_s: float
    loudness_lufs: float | None
    bandwidth_hz: float
    snr_db: float
    silence_share: float
    characters_per_s: float
    samples_sha256: str
    sentence_sha256: str
    source_loudness_lufs: float | None = None
    peak_dbfs: float | None = None
    clipped_share: float | None = None
    dc_offset: float | None = None
    foreign_characters: int | None = None
    unknown_characters: int | None = None
    cer: float | None = None
    heard: str = ""
    codec_distance_db: float | None = None
