"""Measure the clips of one shard, each by itself: level, clipping, band, noise, silence, rate of speech.

What its own model makes of a clip, ASR and codec, costs time and is measured on demand.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio, loudness, model_spec, text, vad
from sotaque import manifest as manifests
from sotaque.data import transcripts
from sotaque.data.measures import codec, signal
from sotaque.data.measures.characters import Alphabet
from sotaque.data.measures.row import Measures
from sotaque.errors import ClipError
from sotaque.manifest import Utterance
from sotaque.normalizers import basic
from sotaque.progress import track
from sotaque.settings import Settings

log = logging.getLogger("sotaque")


def run(
    settings: Settings, *, model: Path, manifest: Path, wav: Path, base: Path, out: Path, shard: str
) -> dict[str, float]:
    """Write out.jsonl, a row for every clip of the shard; returns clips and hours."""
    utterances = manifests.read(wav / "manifest.jsonl")
    sources = {u.id: u for u in manifests.read(manifest / f"{shard}.jsonl")}
    alphabet = Alphabet.of(base)
    rows = [measured(u, sources[u.id], alphabet) for u in track(utterances, f"measure {shard}")]
    if settings.measure.asr:
        heard = _heard(settings, model, base, wav, utterances)
        rows = [replace(row, **heard[row.id]) for row in rows]
    if settings.measure.codec:
        lost_db = _lost_db(settings, model, base, utterances)
        rows = [replace(row, codec_distance_db=round(lost_db[row.id], 3)) for row in rows]
    manifests.write(Path(f"{out}.jsonl"), rows)
    return {"clips": len(rows), "hours": sum(row.duration_s for row in rows) / 3600}


def measured(utterance: Utterance, source: Utterance, alphabet: Alphabet | None) -> Measures:
    """utterance: the normalised clip; source: the one that it was made from."""
    samples, rate_hz = audio.read(Path(utterance.audio))
    speech = vad.speech_probability(samples, rate_hz)
    words = text.normalize_for_wer(utterance.text, utterance.language)
    letters = basic(utterance.text)  # numbers as they are written: digits say little of how long they take
    return Measures(
        id=utterance.id,
        speaker=utterance.speaker,
        language=utterance.language,
        accent=utterance.accent,
        duration_s=utterance.duration_s,
        loudness_lufs=utterance.loudness_lufs,
        bandwidth_hz=round(signal.bandwidth_hz(samples, rate_hz), 1),
        snr_db=round(signal.snr_db(samples, rate_hz, speech), 2),
        silence_share=round(signal.silence_share(speech), 4),
        characters_per_s=round(len(letters) * rate_hz / len(samples), 3),
        samples_sha256=hashlib.sha256(np.rint(samples * 2**15).astype("<i2").tobytes()).hexdigest(),
        sentence_sha256=hashlib.sha256(f"{utterance.speaker}\n{words}".encode()).hexdigest(),
        foreign_characters=len(transcripts.foreign(utterance.text, utterance.language)),
        unknown_characters=alphabet.unknown(utterance.text) if alphabet else None,
        **of_source(source),
    )


def of_source(source: Utterance) -> dict[str, float]:
    """The level of the recording as it came; nothing where it has gone since, which the log says.

    `normalize` has decoded it under its limits before, so it can be decoded here.
    """
    try:
        samples, rate_hz = audio.read(Path(source.audio), source.start_s, source.end_s)
        loudness_lufs = loudness.loudness_lufs(samples, rate_hz)
    except ClipError as error:
        log.warning("measure: the recording of %s is left out: %s", source.id, error)
        return {}
    return {
        "source_loudness_lufs": round(max(loudness_lufs, -70.0), 2),
        "peak_dbfs": round(signal.peak_dbfs(samples), 2),
        "clipped_share": round(signal.clipped_share(samples), 6),
        "dc_offset": round(signal.dc_offset(samples), 6),
    }


def _heard(
    settings: Settings, model: Path, base: Path, wav: Path, utterances: list[Utterance]
) -> dict[str, dict[str, Any]]:
    """id -> cer and heard, by the ASR that evaluates the model."""
    from sotaque import device
    from sotaque.metrics import wer
    from sotaque.metrics.context import Context

    context = Context(
        settings=settings, spec=model_spec.read(model.stem), system=f"shard {wav.name}", base=base,
        network=base, wav=wav, utterances=utterances, train=(),
        device=device.prepare(settings.measure.threads),
    )  # fmt: skip
    rows = wer.score(context).rows
    return {row["id"]: {"cer": row["cer"], "heard": row["hypothesis"]} for row in rows}


def _lost_db(settings: Settings, model: Path, base: Path, utterances: list[Utterance]) -> dict[str, float]:
    from sotaque import backends, device

    backend = backends.load(
        model_spec.read(model.stem).backend, base, device.prepare(settings.measure.threads)
    )
    return codec.distances_db(utterances, backend, "codec distance")
