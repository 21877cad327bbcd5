"""One shard of clips -> the model's rate, one channel, one loudness, no silence at the ends, 16-bit WAV."""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from sotaque import audio, files, loudness, model_spec, sandbox, vad
from sotaque import rejects as rejects_module
from sotaque.data import pauses
from sotaque.errors import ClipError
from sotaque.manifest import Reject, Utterance
from sotaque.manifest import read as read_manifest
from sotaque.manifest import write as write_manifest
from sotaque.progress import track
from sotaque.rejects import counted
from sotaque.settings import Normalize, Settings

BELOW_TARGET_LU = 0.1
ENDS_WITHIN_S = 0.1
REFUSED = Path("logs/rejects-normalize.jsonl")
log = logging.getLogger("sotaque")


def run(settings: Settings, *, model: Path, manifest: Path, shard: str, out: Path) -> dict[str, float]:
    """Write out/<id>.wav, out/manifest.jsonl and out/rejects.jsonl; a bad clip never stops the run.

    Clips whose peak keeps them under the target loudness are told by their loudness_lufs. Raises InputError
    when the rejects of this shard alone are more than ingest.max_rejected_share of the whole corpus.
    """
    rate_hz = model_spec.read(settings.model).sample_rate_hz
    utterances = read_manifest(manifest / f"{shard}.jsonl")
    kept: list[Utterance] = []
    rejects: list[Reject] = []
    audio.load_libraries(high_pass=settings.normalize.high_pass_hz > 0)
    if settings.normalize.trim == "vad":
        vad.load_libraries()
    work = functools.partial(prepared, wanted=settings.normalize, rate_hz=rate_hz)
    limits = sandbox.Limits(settings.normalize.max_decode_s, settings.normalize.max_decode_mb)
    with contextlib.closing(sandbox.each(work, utterances, limits)) as answers:
        for utterance, answer in zip(track(utterances, f"normalize {shard}"), answers, strict=True):
            if isinstance(answer, ClipError):
                path, duration_s = utterance.audio, utterance.duration_s
                rejects.append(Reject.of(utterance.id, path, "normalize", answer, duration_s))
            else:
                kept.append(stored(utterance, *answer, out))
    write_manifest(out / "manifest.jsonl", kept)
    write_manifest(out / "rejects.jsonl", rejects)
    files.settle(out)
    if rejects:
        lost_s = sum(reject.duration_s for reject in rejects)
        all_s = sum(utterance.duration_s for utterance in utterances)
        log.warning(
            "normalize %s: %d of %d clips rejected, %.1f of %.1f minutes: %s",
            shard,
            len(rejects),
            len(utterances),
            lost_s / 60,
            all_s / 60,
            counted(rejects),
        )
    refuse(rejects, utterances, manifest, settings.ingest.max_rejected_share)
    target = settings.normalize.loudness_lufs - BELOW_TARGET_LU
    return {
        "clips": len(kept),
        "rejected": len(rejects),
        "hours": sum(u.duration_s for u in kept) / 3600,
        "below_target_loudness": sum(u.loudness_lufs < target for u in kept),
    }


def refuse(rejects: list[Reject], utterances: list[Utterance], manifest: Path, allowed: float) -> None:
    """Stop where one shard alone loses more than the whole corpus may lose, before anything is measured.

    What the shards lose together is known when the stage quality sees all of them. `allowed` decides only
    whether the run stops, so it is none of the parameters of this stage.
    """
    lost_s, all_s = (sum(row.duration_s for row in rows) for rows in (rejects, utterances))
    if len(rejects) <= allowed * len(utterances) and lost_s <= allowed * all_s:
        return
    corpus = [u for path in sorted(manifest.glob("[0-9]*.jsonl")) for u in read_manifest(path)]
    duration_s = sum(utterance.duration_s for utterance in corpus)
    where = f"{manifest}: normalize loses too much of the corpus in one of its shards"
    rejects_module.refuse(rejects, len(corpus), duration_s, allowed, where=where, into=REFUSED)


def prepared(utterance: Utterance, wanted: Normalize, rate_hz: int) -> sandbox.Answer:
    """What a clip becomes: {duration_s, loudness_lufs} and the bytes of its WAV.

    Raises ClipError when it cannot be used.
    """
    samples, source_hz = recorded(utterance, wanted)
    samples = audio.resample(samples, source_hz, rate_hz)
    samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    if wanted.high_pass_hz:
        samples = audio.high_pass(samples, rate_hz, wanted.high_pass_hz)
    samples = trimmed(samples, rate_hz, wanted)
    duration_s = len(samples) / rate_hz
    check_duration(duration_s, wanted)
    check_rate(len(utterance.text) / duration_s, wanted)
    samples, loudness_lufs = levelled(samples, rate_hz, wanted.loudness_lufs, wanted.peak_dbfs)
    values = {"duration_s": round(duration_s, 4), "loudness_lufs": round(loudness_lufs, 2)}
    return values, audio.encoded(samples, rate_hz)


def recorded(utterance: Utterance, wanted: Normalize) -> tuple[np.ndarray, int]:
    """A clip's samples (T,) and rate_hz; a piece of a recording is cut at the pauses near its ends.

    Raises ClipError "truncated" where it is shorter than ingest found it.
    """
    path, start_s, end_s = Path(utterance.audio), utterance.start_s, utterance.end_s
    if (start_s, end_s) == (0.0, None) or not wanted.cut_margin_s:
        samples, rate_hz = audio.read(path, start_s, end_s)
        check_found(len(samples) / rate_hz, utterance)
        return samples, rate_hz
    around_s = wanted.cut_margin_s + pauses.PAUSE_S
    samples, rate_hz, first, last = audio.read_around(path, start_s, end_s, around_s)
    check_found((last - first) / rate_hz, utterance)
    return pauses.cut(samples, rate_hz, first, last, wanted), rate_hz


def check_found(duration_s: float, utterance: Utterance) -> None:
    if duration_s < utterance.duration_s - ENDS_WITHIN_S:
        found = f"ingest found {utterance.duration_s:.3f} s, {duration_s:.3f} s can be decoded"
        raise ClipError("truncated", found)


def trimmed(samples: np.ndarray, rate_hz: int, wanted: Normalize) -> np.ndarray:
    """Without the silence at the ends; raises ClipError "no-speech" where the VAD is asked and hears none."""
    found = pauses.activity(samples, rate_hz, wanted)
    if wanted.trim == "vad":
        pauses.check_speech(found)
    return pauses.trimmed(samples, rate_hz, found, wanted.trim_margin_s)


def stored(utterance: Utterance, values: dict[str, float], wav: bytes, out: Path) -> Utterance:
    """Write a clip's WAV, without waiting for the disk, and say what the clip is now."""
    path = out / f"{utterance.id}.wav"
    files.write_bytes(path, wav, wait=False)
    return replace(utterance, audio=path.as_posix(), start_s=0.0, end_s=None, **values)


def check_duration(duration_s: float, wanted: Normalize) -> None:
    if duration_s < wanted.min_s:
        raise ClipError("too-short", f"{duration_s:.3f} s without silence, normalize.min_s is {wanted.min_s}")
    if duration_s > wanted.max_s:
        raise ClipError("too-long", f"{duration_s:.3f} s without silence, normalize.max_s is {wanted.max_s}")


def check_rate(characters_per_s: float, wanted: Normalize) -> None:
    """Text far too long or short for its audio is another clip's."""
    found = f"{characters_per_s:.2f} characters per second without silence at the ends"
    if characters_per_s > wanted.max_characters_per_s:
        allowed = f"normalize.max_characters_per_s is {wanted.max_characters_per_s}"
        raise ClipError("speech-too-fast", f"{found}, {allowed}")
    if characters_per_s < wanted.min_characters_per_s:
        allowed = f"normalize.min_characters_per_s is {wanted.min_characters_per_s}"
        raise ClipError("speech-too-slow", f"{found}, {allowed}")


def levelled(
    samples: np.ndarray, rate_hz: int, target_lufs: float, peak_dbfs: float
) -> tuple[np.ndarray, float]:
    """Samples (T,) at the target loudness, or below it where a peak would pass peak_dbfs; and that loudness.

    Raises ClipError "silent" for a clip without loudness (all below -70 LUFS, R128's absolute gate).
    """
    powers = loudness.block_powers(samples, rate_hz)
    if not np.isfinite(loudness.gated_lufs(powers[0])):
        raise ClipError("silent", "nothing in it is louder than -70 LUFS")
    headroom_db = peak_dbfs - 20 * float(np.log10(max(samples.max(), -samples.min())))
    gain_db = min(loudness.gain_db(powers, target_lufs), headroom_db)
    loudness_lufs = loudness.gated_lufs(powers[0] * 10 ** (gain_db / 10))
    return samples * np.float32(10 ** (gain_db / 20)), loudness_lufs
