"""Choose the checkpoint by listening: each one speaks the same few validation texts.

The rule: the earliest checkpoint that meets the targets of WER and similarity; when none does, the one
with the best score = similarity - WER - share of clips that never stopped, the earlier of equals. The base
(step 0) is measured too, for comparison, but not chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
from sotaque.metrics import wer
from sotaque.metrics.similarity import SpeakerEncoder, Voices, hash_order
from sotaque.progress import track
from sotaque.settings import Settings, Targets
from sotaque.training import lora as adapters
from sotaque.training import result as results
from sotaque.training import tracking

log = logging.getLogger("sotaque")

SCORE = "similarity - WER - share of clips that never stopped"


@dataclass(frozen=True)
class Candidate:
    """One checkpoint as it was heard; step 0 is the base.

    duration_ratio: all that was spoken over all recordings of the same texts. unstopped: share of clips
    that ran into the limit. similarity: None when no clip has a voice in it.
    """

    step: int
    wer: float
    similarity: float | None
    duration_ratio: float
    unstopped: float
    val_nats: float | None

    @property
    def score(self) -> float:
        return (self.similarity or 0.0) - self.wer - self.unstopped

    def meets(self, targets: Targets) -> bool:
        return self.wer < targets.wer and self.similarity is not None and self.similarity > targets.similarity


def run(
    settings: Settings, *, model: Path, splits: Path, base: Path, lora: Path, out: Path
) -> dict[str, float]:
    """Write out.json: the step, why it was taken, and every candidate."""
    spec = model_spec.read(model.stem)
    backend = backends.load(spec.backend, base, device.prepare(settings.synthesize.threads))
    steps = adapters.steps(lora)
    if not steps:
        raise ModelError(f"{lora} has no adapter (step-NNNNNN/); run train again")
    texts = hash_order(manifest.read(splits / "val.jsonl"))[: settings.select.clips]
    if not texts:
        raise InputError(f"{splits / 'val.jsonl'} has no utterance to speak; raise split.val_share")
    ear = Ear(settings, base, backend, texts, manifest.read(splits / "train.jsonl"))
    losses = {row.step: row.val_nats for row in curves.read_losses(lora)}
    candidates = []
    with device.enough_memory("select", SPEAK_FEWER):
        for step in track([0, *steps], "select"):
            network = adapted(backend, lora / adapters.step_name(step) if step else None)
            candidates.append(ear.hear(network, spec.generation, step, losses.get(step)))
            _log(candidates[-1])
    chosen, reason = choose(candidates, settings.targets)
    asked = settings.select.clips
    reason += f"; heard on {len(texts)} texts" + (f" of {asked} asked for" if len(texts) < asked else "")
    log.info("select: %s", reason)
    files.write_json(Path(f"{out}.json"), {
        "step": chosen.step,
        "reason": reason,
        "score": SCORE,
        "texts": [utterance.id for utterance in texts],
        "candidates": [asdict(candidate) | {"score": candidate.score} for candidate in candidates],
    })  # fmt: skip
    return {"step": chosen.step, **_figures(chosen)}


def choose(candidates: Sequence[Candidate], targets: Targets) -> tuple[Candidate, str]:
    """The checkpoint by the rule above, and why in a sentence; candidates rise by step."""
    checkpoints = [candidate for candidate in candidates if candidate.step > 0]
    wanted = f"WER below {targets.wer:g} and similarity above {targets.similarity:g}"
    for candidate in checkpoints:
        if candidate.meets(targets):
            return candidate, f"step {candidate.step} is the earliest with {wanted}"
    best = max(checkpoints, key=lambda candidate: (candidate.score, -candidate.step))
    beside, last = "", checkpoints[-1]
    if best is not last:
        beside = f": {best.score:.3f}, where the last one, step {last.step}, has {last.score:.3f}"
    return best, f"no checkpoint has {wanted}; step {best.step} has the best score ({SCORE}){beside}"


def adapted(backend: Backend, result: Path | None) -> torch.nn.Module:
    """The network of a step; an adapter is merged into the base, which speaks faster than beside it."""
    dtype = device.speaking_dtype(backend.device)
    if result is None:
        return backend.load_network(dtype=dtype)
    return results.merged(results.load(backend, result, dtype))


class Ear:
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
        heard = [u for u in recordings if u.speaker in {text.speaker for text in texts}]
        self.voices = Voices(heard, settings.evaluate.reference_clips, self.encoder)

    def hear(
        self, network: torch.nn.Module, generation: Generation, step: int, val_nats: float | None
    ) -> Candidate:
        waves, stopped = speak(self.settings, self.backend, self.references, self.texts, network, generation)
        spoken_s = sum(map(len, waves)) / self.backend.codec_rate_hz
        return Candidate(
            step=step,
            wer=self._wer(waves),
            similarity=self._similarity(waves),
            duration_ratio=spoken_s / max(1e-9, sum(u.duration_s for u in self.texts)),
            unstopped=1 - float(np.mean(stopped)),
            val_nats=val_nats,
        )

    def _wer(self, waves: Sequence[np.ndarray]) -> float:
        heard = transcribe(self.recognizer, self.texts, waves, self.backend.codec_rate_hz)
        rates = wer.error_rates([u.text for u in self.texts], heard, [u.language for u in self.texts])
        return rates.wer if rates.wer is not None else 0.0

    def _similarity(self, waves: Sequence[np.ndarray]) -> float | None:
        found = []
        for utterance, wave in zip(self.texts, waves, strict=True):
            vector = self.encoder.embed(wave, self.backend.codec_rate_hz)
            if vector is not None:
                found.append(self.voices.similarity(vector, utterance.speaker))
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else None


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
            wave = decoded(backend, one.codes, seed, prompt.reference)
            if utterance.loudness_lufs is not None:
                wave = match_loudness(wave, backend.codec_rate_hz, utterance.loudness_lufs)
            waves.append(wave)
            stopped.append(one.stopped)
    return waves, stopped


def transcribe(
    recognizer: Recognizer, texts: Sequence[Utterance], waves: Sequence[np.ndarray], rate_hz: int
) -> list[str]:
    """What is heard in each text's wave, in the text's own language."""
    heard = [""] * len(waves)
    for language in sorted({u.language for u in texts}):
        mine = [i for i, u in enumerate(texts) if u.language == language]
        said = recognizer.transcribe([waves[i] for i in mine], rate_hz, language)
        for i, text in zip(mine, said, strict=True):
            heard[i] = text
    return heard


def _figures(candidate: Candidate) -> dict[str, float]:
    names = ("wer", "similarity", "duration_ratio", "unstopped", "score")
    values = {name: getattr(candidate, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _log(candidate: Candidate) -> None:
    tracking.log_metrics(_figures(candidate), candidate.step)
