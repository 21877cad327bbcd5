"""Speak the test texts with one system: reference, codec, base or tuned.

Every test utterance has a row in clips.jsonl; one that comes out without sound has no WAV there, and the
metrics count it as wrong. Each WAV is scaled to the loudness of its recording: listeners take louder for
better, and half the level alone moves a speaker embedding by 0.05.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sotaque import audio, backends, device, loudness, manifest, model_spec
from sotaque.backends.families import Generation
from sotaque.backends.protocol import Backend, Reference
from sotaque.backends.references import References
from sotaque.errors import SettingsError
from sotaque.manifest import Utterance
from sotaque.metrics import failures
from sotaque.model_spec import ModelSpec
from sotaque.progress import counter
from sotaque.settings import Settings

PEAK = 0.98
SPEAK_FEWER = (
    "Lower synthesize.batch_clips, set generation.max_s in the model's file, or end other programs that hold "
    "memory; then the same command again"
)


@dataclass(frozen=True)
class Clip:
    """What became of one test utterance.

    status: ok or empty. frames: of the codec, None for recordings. stopped: the model ended by itself.
    limit_s: where it would have been stopped, by its text and the model's context.
    """

    id: str
    status: str
    duration_s: float
    frames: int | None = None
    stopped: bool | None = None
    limit_s: float | None = None


@dataclass(frozen=True)
class Take:
    """samples (T,) float32 at the codec's rate; frames, stopped, limit_s: see Clip."""

    samples: np.ndarray
    frames: int
    stopped: bool | None = None
    limit_s: float | None = None


def run(
    settings: Settings, *, model: Path, splits: Path, base: Path, network: Path, system: str, out: Path
) -> dict[str, float]:
    """Write `out/<id>.wav` and `out/clips.jsonl`; returns how many came out empty or never stopped."""
    utterances = manifest.read(splits / "test.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    if system == "reference":
        clips = [_copy(utterance, out) for utterance in utterances]
    else:
        recordings = manifest.read(splits / "train.jsonl")
        spec = model_spec.read(model.stem)
        with device.enough_memory(f"synthesize {system}", SPEAK_FEWER):
            clips = list(_speak(settings, spec, utterances, recordings, base, network, system, out))
    manifest.write(out / "clips.jsonl", clips)
    return {
        "clips": len(clips),
        "failed": sum(clip.status == "empty" for clip in clips),
        "never_stopped": sum(clip.stopped is False for clip in clips),
        "audio_s": sum(clip.duration_s for clip in clips),
    }


def _copy(utterance: Utterance, out: Path) -> Clip:
    """The normalised recording itself, byte for byte."""
    target = out / f"{utterance.id}.wav"
    shutil.copyfile(utterance.audio, target)
    return Clip(utterance.id, "ok", audio.read_header(target).duration_s)


def _speak(
    settings: Settings, spec: ModelSpec, utterances: Sequence[Utterance], recordings: Sequence[Utterance],
    base: Path, network: Path, system: str, out: Path,
) -> Iterator[Clip]:  # fmt: skip
    backend = backends.load(spec.backend, base, device.prepare(settings.synthesize.threads))
    references = References(backend, recordings)
    with counter(f"synthesize {system}", len(utterances)) as advance:
        for utterance, take in takes(settings, spec, backend, references, utterances, network, system):
            yield _write(utterance, take, backend.codec_rate_hz, out)
            advance()


def takes(
    settings: Settings, spec: ModelSpec, backend: Backend, references: References,
    utterances: Sequence[Utterance], network: Path, system: str,
) -> Iterator[tuple[Utterance, Take]]:  # fmt: skip
    """Each utterance as a system of the codec says it; texts of like length share a batch."""
    if system == "codec":
        for utterance in utterances:
            yield utterance, round_trip(backend, utterance, settings.seed, references.of(utterance.speaker))
        return
    if system not in ("base", "tuned"):
        raise SettingsError(f"system is {system!r}, allowed: reference, codec, base, tuned")
    folder = None if system == "base" else network
    loaded = backend.load_network(folder, backend.speaking_dtype)
    ordered = sorted(utterances, key=lambda u: (len(u.text), u.id))
    size = settings.synthesize.batch_clips
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        prompts = [references.prompt(u) for u in batch]
        seeds = [seed_of(settings.seed, u.id) for u in batch]
        said = backend.generate(loaded, prompts, spec.generation, seeds)
        for utterance, prompt, seed, spoken in zip(batch, prompts, seeds, said, strict=True):
            wave = decoded(backend, spoken.codes, seed, prompt.reference, spec.generation)
            yield utterance, Take(wave, len(spoken.codes), spoken.stopped, spoken.limit_s)


def round_trip(backend: Backend, utterance: Utterance, seed: int, reference: Reference | None) -> Take:
    """The recording through the codec and back, cut to its own length."""
    samples, rate_hz = audio.read(Path(utterance.audio))
    [codes] = backend.encode([audio.resample(samples, rate_hz, backend.sample_rate_hz)])
    length = round(len(samples) * backend.codec_rate_hz / rate_hz)
    wave = decoded(backend, codes, seed_of(seed, utterance.id), reference)
    return Take(wave[:length], len(codes))


def decoded(
    backend: Backend,
    codes: np.ndarray,
    seed: int,
    reference: Reference | None,
    generation: Generation | None = None,
) -> np.ndarray:
    """Codes (F, K) -> samples (T,); no frames, no sound. generation: of codes that a network generated."""
    if not len(codes):
        return np.zeros(0, np.float32)
    return backend.decode(codes, seed, reference, generation)


def seed_of(seed: int, identifier: str) -> int:
    """The clip's own seed, below 2**31: sha256(seed, id), so that its neighbours do not matter."""
    digest = hashlib.sha256(f"{seed}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def match_loudness(samples: np.ndarray, rate_hz: int, target_lufs: float) -> np.ndarray:
    """Scale to target_lufs, but never beyond a peak of 0.98; under 0.4 s or inaudible: unchanged."""
    if len(samples) < loudness.BLOCK_S * rate_hz or not failures.is_audible(samples, rate_hz):
        return samples
    gain = 10 ** ((target_lufs - loudness.loudness_lufs(samples, rate_hz)) / 20)
    return (samples * min(gain, PEAK / np.abs(samples).max())).astype(np.float32)


def _write(utterance: Utterance, take: Take, rate_hz: int, out: Path) -> Clip:
    samples = take.samples
    if not len(samples):
        return Clip(utterance.id, "empty", 0.0, take.frames, take.stopped, take.limit_s)
    if utterance.loudness_lufs is not None:
        samples = match_loudness(samples, rate_hz, utterance.loudness_lufs)
    audio.write(out / f"{utterance.id}.wav", samples, rate_hz)
    return Clip(utterance.id, "ok", len(samples) / rate_hz, take.frames, take.stopped, take.limit_s)
