"""Choose the checkpoint: each one speaks the same few validation texts, and so does the base (step 0).

The rule, in this order:

1. Only checkpoints that are better than the base in a target metric, WER or similarity, take part. Where
   there is none, the base wins.
2. The best of them has the fewest failed clips; of these, it meets the targets of WER and similarity; of
   these, it has the best score = similarity - WER; of equals, it is the earliest.
3. The earliest wins that has no more failed clips than the best, meets the targets if the best does, and
   whose score is not significantly worse: the 95 % interval of the difference, paired by clip, holds 0. The
   question is how these speakers say other texts, so the clips count as those of one speaker.

WER and similarity are point values over all clips: a clip without speech has a similarity of 0. What counts
as a failed clip is in metrics/failures.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sotaque import backends, device, files, manifest, model_spec
from sotaque.backends.families import Generation
from sotaque.backends.protocol import Backend
from sotaque.backends.references import References
from sotaque.errors import InputError, ModelError
from sotaque.evaluation import curves
from sotaque.evaluation.recognizer import Recognizer
from sotaque.evaluation.synthesize import SPEAK_FEWER, decoded, match_loudness, seed_of
from sotaque.manifest import Utterance
from sotaque.metrics import failures, intervals, similarity, wer
from sotaque.metrics.similarity import SpeakerEncoder, Voices, hash_order
from sotaque.progress import track
from sotaque.settings import Settings, Targets
from sotaque.training import lora as adapters
from sotaque.training import result as results
from sotaque.training import tracking

log = logging.getLogger("sotaque")

SCORE = "similarity - WER"


@dataclass(frozen=True)
class ClipScores:
    """One validation text as one checkpoint spoke it.

    similarity: 0 for a clip without speech, None where the speaker has no recording to compare with.
    failure: one of failures.KINDS, or None.
    """

    id: str
    speaker: str
    word_errors: int
    words: int
    similarity: float | None
    failure: str | None
    duration_s: float
    recording_s: float


@dataclass(frozen=True)
class Candidate:
    """One checkpoint with its clips, in the same order for every checkpoint; step 0 is the base."""

    step: int
    clips: tuple[ClipScores, ...]
    val_nats: float | None = None

    @property
    def wer(self) -> float:
        return sum(clip.word_errors for clip in self.clips) / max(1, sum(clip.words for clip in self.clips))

    @property
    def similarity(self) -> float | None:
        known = [clip.similarity for clip in self.clips if clip.similarity is not None]
        return float(np.mean(known)) if known else None

    @property
    def failed(self) -> int:
        return sum(clip.failure is not None for clip in self.clips)

    @property
    def duration_ratio(self) -> float:
        """Seconds of speech to seconds of the recordings of the same texts."""
        recorded_s = sum(clip.recording_s for clip in self.clips)
        return sum(clip.duration_s for clip in self.clips) / max(1e-9, recorded_s)

    @property
    def score(self) -> float:
        return (self.similarity or 0.0) - self.wer

    @property
    def clip_scores(self) -> np.ndarray:
        """What each clip adds, scaled so that the mean is `score`."""
        words = max(1, sum(clip.words for clip in self.clips))
        known = max(1, sum(clip.similarity is not None for clip in self.clips))
        return np.array([
            len(self.clips) * ((clip.similarity or 0.0) / known - clip.word_errors / words)
            for clip in self.clips
        ])  # fmt: skip

    def meets(self, targets: Targets) -> bool:
        return self.wer < targets.wer and (self.similarity or 0.0) > targets.similarity

    def is_better_in_any_target(self, other: Candidate) -> bool:
        return self.wer < other.wer or (self.similarity or 0.0) > (other.similarity or 0.0)

    def as_row(self) -> dict[str, Any]:
        """For selected.json: the figures, and the failed clips by kind."""
        return {
            "step": self.step,
            "wer": self.wer,
            "similarity": self.similarity,
            "duration_ratio": self.duration_ratio,
            "failed": self.failed,
            "failures": failures.count(clip.failure for clip in self.clips),
            "val_nats": self.val_nats,
            "score": self.score,
        }


def run(
    settings: Settings, *, model: Path, splits: Path, base: Path, lora: Path, out: Path
) -> dict[str, float]:
    """Write out.json: the step, why it was taken, warnings, and the figures of every candidate."""
    spec = model_spec.read(model.stem)
    backend = backends.load(spec.backend, base, device.prepare(settings.synthesize.threads))
    steps = adapters.steps(lora)
    if not steps:
        raise ModelError(f"{lora} has no adapter (step-NNNNNN/); run train again")
    texts = hash_order(manifest.read(splits / "val.jsonl"))[: settings.select.clips]
    if not texts:
        raise InputError(f"{splits / 'val.jsonl'} has no utterance to speak; raise split.val_share")
    evaluator = Evaluator(settings, base, backend, texts, manifest.read(splits / "train.jsonl"))
    losses = {row.step: row.val_nats for row in curves.read_losses(lora)}
    candidates = []
    with device.enough_memory("select", SPEAK_FEWER):
        for step in track([0, *steps], "select"):
            network = adapted(backend, lora / adapters.step_name(step) if step else None)
            clips = evaluator.evaluate(network, spec.generation)
            candidates.append(Candidate(step, tuple(clips), losses.get(step)))
            tracking.log_metrics(_figures(candidates[-1]), step)
    chosen, reason = choose(candidates, settings.targets)
    asked = settings.select.clips
    reason += f"; {len(texts)} texts" + (f" of {asked} asked for" if len(texts) < asked else "")
    warnings = warn(chosen, candidates)
    log.info("select: %s", reason)
    for warning in warnings:
        log.warning("select: %s", warning)
    files.write_json(Path(f"{out}.json"), {
        "step": chosen.step,
        "reason": reason,
        "warnings": warnings,
        "score": SCORE,
        "texts": [utterance.id for utterance in texts],
        "candidates": [candidate.as_row() for candidate in candidates],
    })  # fmt: skip
    return {"step": chosen.step, **_figures(chosen)}


def choose(candidates: Sequence[Candidate], targets: Targets) -> tuple[Candidate, str]:
    """The candidate by the rule above, and why in a sentence; candidates rise by step from the base."""
    base, *trained = candidates
    checkpoints = [checkpoint for checkpoint in trained if checkpoint.is_better_in_any_target(base)]
    if not checkpoints:
        return base, (
            "the base is kept (step 0): no checkpoint has a lower WER "
            f"than its {base.wer:.3f} or a higher similarity than its {base.similarity or 0.0:.3f}"
        )
    best = min(checkpoints, key=lambda c: (c.failed, not c.meets(targets), -c.score, c.step))
    peers = [c for c in checkpoints if c.failed <= best.failed and c.meets(targets) >= best.meets(targets)]
    chosen = next(c for c in peers if c is best or not _is_significantly_worse(c, best))
    who = "it meets" if best.meets(targets) else "no checkpoint with so few failed clips meets"
    reason = (
        f"{chosen.failed} of {len(chosen.clips)} clips failed at step {chosen.step}, and {who} the targets "
        f"(WER below {targets.wer:g}, similarity above {targets.similarity:g}); "
    )
    if chosen is best:
        return chosen, f"{reason}its score ({SCORE}) is the best, {chosen.score:.3f}"
    return chosen, (
        f"{reason}it is the earliest whose score ({SCORE}), {chosen.score:.3f}, is not significantly worse "
        f"than the best, {best.score:.3f} at step {best.step}"
    )


def _is_significantly_worse(candidate: Candidate, best: Candidate) -> bool:
    """Whether the 95 % interval of the difference of scores, paired by clip, lies below 0.

    Where the clips are too few for an interval, every difference counts.
    """
    as_one = [""] * len(candidate.clips)
    difference = intervals.paired_mean_interval(candidate.clip_scores, best.clip_scores, as_one)
    return candidate.score < best.score if difference.high is None else difference.high < 0


def warn(chosen: Candidate, candidates: Sequence[Candidate]) -> list[str]:
    """What a person should know of a choice that is worse than the base in some respect."""
    base, last = candidates[0], candidates[-1]
    warnings = []
    if None not in (base.val_nats, last.val_nats) and last.val_nats > base.val_nats:
        warnings.append(
            f"validation loss ended at {last.val_nats:.3f} nats (step {last.step}), above the base's "
            f"{base.val_nats:.3f}: training made the model worse; lower lr, or look at the corpus page"
        )
    if chosen.failed > base.failed:
        warnings.append(
            f"step {chosen.step} failed in {chosen.failed} of {len(chosen.clips)} clips, the base in "
            f"{base.failed}; listen to the clips on the report page before you use it"
        )
    if _is_significantly_worse_in_wer(chosen, base):
        warnings.append(f"step {chosen.step} has a WER of {chosen.wer:.3f}, above the base's {base.wer:.3f}")
    return warnings


def _is_significantly_worse_in_wer(candidate: Candidate, base: Candidate) -> bool:
    """As `_is_significantly_worse`, by WER alone."""
    difference = intervals.paired_error_rate_interval(
        [clip.word_errors for clip in candidate.clips],
        [clip.word_errors for clip in base.clips],
        [clip.words for clip in base.clips],
        [""] * len(base.clips),
    )
    return candidate.wer > base.wer if difference.low is None else difference.low > 0


def adapted(backend: Backend, result: Path | None) -> torch.nn.Module:
    """The network of a step; an adapter is merged into the base, which speaks faster than beside it."""
    dtype = backend.speaking_dtype
    if result is None:
        return backend.load_network(dtype=dtype)
    return results.merged(results.load(backend, result, dtype))


class Evaluator:
    """What judges a checkpoint: the ASR, the speaker encoder and the voices of the training clips."""

    def __init__(
        self,
        settings: Settings,
        base: Path,
        backend: Backend,
        texts: Sequence[Utterance],
        recordings: Sequence[Utterance],
    ):
        self.settings, self.backend, self.texts = settings, backend, texts
        self.references = References(backend, recordings)
        self.recognizer = Recognizer(base / "asr", backend.device)
        self.encoder = SpeakerEncoder()
        of_texts = [u for u in recordings if u.speaker in {text.speaker for text in texts}]
        self.voices = Voices(of_texts, settings.evaluate.reference_clips, self.encoder)

    def evaluate(self, network: torch.nn.Module, generation: Generation) -> list[ClipScores]:
        """The scores of every text as the network speaks it, in the order of the texts."""
        waves, stopped = speak(self.settings, self.backend, self.references, self.texts, network, generation)
        transcripts = transcribe(self.recognizer, self.texts, waves, self.backend.codec_rate_hz)
        similarities = self._similarities(waves)
        return [
            self._score(utterance, samples, ended, transcript, similarities[utterance.id])
            for utterance, samples, ended, transcript in zip(
                self.texts, waves, stopped, transcripts, strict=True
            )
        ]

    def _similarities(self, waves: Sequence[np.ndarray]) -> dict[str, float | None]:
        """By id: 0 for a clip without speech, None for a speaker without a recording to compare with."""
        rate_hz = self.backend.codec_rate_hz
        speech: dict[str, dict[str, np.ndarray]] = {}
        for utterance, samples in zip(self.texts, waves, strict=True):
            own = speech.setdefault(utterance.speaker, {})
            own[utterance.id] = self.encoder.speech(samples, rate_hz)
        found = {}
        for speaker, clips in speech.items():
            rows = similarity.compare(self.encoder, self.voices, speaker, clips)
            silent = similarity.WITHOUT_SPEECH if self.voices.vectors.get(speaker) else None
            found |= {name: row["similarity"] if len(clips[name]) else silent for name, row in rows.items()}
        return found

    def _score(
        self,
        utterance: Utterance,
        samples: np.ndarray,
        stopped: bool,
        transcript: str,
        similarity: float | None,
    ) -> ClipScores:
        errors = wer.utterance_errors(utterance.text, transcript, utterance.language)
        clip = failures.Clip(
            samples=samples,
            rate_hz=self.backend.codec_rate_hz,
            recording_s=utterance.duration_s,
            stopped=stopped,
            reference=errors.reference.split(),
            transcript=errors.hypothesis.split(),
        )
        return ClipScores(
            id=utterance.id,
            speaker=utterance.speaker,
            word_errors=errors.word_errors,
            words=errors.words,
            similarity=similarity,
            failure=failures.classify(clip),
            duration_s=clip.duration_s,
            recording_s=utterance.duration_s,
        )


def speak(
    settings: Settings,
    backend: Backend,
    references: References,
    texts: Sequence[Utterance],
    network: torch.nn.Module,
    generation: Generation,
) -> tuple[list[np.ndarray], list[bool]]:
    """Waves (T,) of all texts, with the seeds and the loudness that `synthesize` would use; who stopped."""
    waves, stopped, size = [], [], settings.synthesize.batch_clips
    for start in range(0, len(texts), size):
        batch = texts[start : start + size]
        seeds = [seed_of(settings.seed, u.id) for u in batch]
        prompts = [references.prompt(u) for u in batch]
        spoken = backend.generate(network, prompts, generation, seeds)
        for utterance, prompt, one, seed in zip(batch, prompts, spoken, seeds, strict=True):
            wave = decoded(backend, one.codes, seed, prompt.reference, generation)
            if utterance.loudness_lufs is not None:
                wave = match_loudness(wave, backend.codec_rate_hz, utterance.loudness_lufs)
            waves.append(wave)
            stopped.append(one.stopped)
    return waves, stopped


def transcribe(
    recognizer: Recognizer, texts: Sequence[Utterance], waves: Sequence[np.ndarray], rate_hz: int
) -> list[str]:
    """The transcript of each text's samples (T,), by the ASR in the text's own language."""
    transcripts = [""] * len(waves)
    for language in sorted({u.language for u in texts}):
        places = [i for i, u in enumerate(texts) if u.language == language]
        found = recognizer.transcribe([waves[i] for i in places], rate_hz, language)
        for i, transcript in zip(places, found, strict=True):
            transcripts[i] = transcript
    return transcripts


def _figures(candidate: Candidate) -> dict[str, float]:
    names = ("wer", "similarity", "duration_ratio", "failed", "score")
    values = {name: getattr(candidate, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
