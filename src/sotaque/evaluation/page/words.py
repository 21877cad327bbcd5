"""What the report says in sentences: the verdict, the paired difference, and how it was all measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from sotaque import languages
from sotaque.backends.families import FAMILIES
from sotaque.metrics import bootstrap, wer
from sotaque.model_spec import ModelSpec, Source
from sotaque.settings import Settings
from sotaque.training import record
from sotaque.training.record import TrainingRecord

SIGNS = {"wer": "<", "mos": ">", "similarity": ">", "rtf": "<"}
NAMES = {"wer": "WER", "mos": "MOS", "similarity": "similarity", "rtf": "RTF"}


def verdict(targets: dict[str, Any]) -> str:
    """`WER 0.120 (target < 0.15: met), ...`, of metrics.json's targets."""
    return ", ".join(_target(name, target) for name, target in targets.items()) + "."


def _target(name: str, target: dict[str, Any]) -> str:
    value = "unknown" if target["value"] is None else f"{target['value']:.3f}"
    outcome = "met" if target["pass"] else "not met"
    return f"{NAMES[name]} {value} (target {SIGNS[name]} {target['target']:g}: {outcome})"


def difference(results: dict[str, dict[str, Any]], settings: Settings) -> str:
    """WER of tuned minus base, paired over the same texts."""
    tuned, base = (results[system]["wer"]["rows"] for system in ("tuned", "base"))
    return paired("Tuned minus base", tuned, base, settings)


def paired(
    name: str, minuend: list[dict[str, Any]], subtrahend: list[dict[str, Any]], settings: Settings
) -> str:
    """The difference of two systems' WER over the texts that both have spoken, from their rows."""
    ours, theirs = ({r["id"]: r for r in rows if not r["group"]} for rows in (minuend, subtrahend))
    shared = sorted(ours.keys() & theirs.keys())
    first, second = ([wer.word_errors(side[i]) for i in shared] for side in (ours, theirs))
    words = [ours[i]["words"] for i in shared]
    value = bootstrap.ratio(np.subtract(first, second), words)
    if value is None:
        return ""
    samples, seed = settings.evaluate.bootstrap_samples, settings.seed
    low, high = bootstrap.difference_interval(first, second, words, samples, seed)
    said = f"WER {value:+.3f} (95 % {low:+.3f} to {high:+.3f})".replace("-", "−")
    return f"{name}, paired over the same {len(shared)} texts: {said}."


def similarity_levels(level: dict[str, Any]) -> str:
    """How to read a similarity, from the summary of the reference row."""
    said = "Similarity is the cosine between the Resemblyzer embedding of a clip and the speaker's voice."
    if level["similarity"] is None:
        return said
    said += f" The recordings themselves reach {level['similarity']:.3f} with their own speaker"
    if level["other_speakers"] is not None:
        said += f" and {level['other_speakers']:.3f} with the other speakers of the corpus"
    return said + "."


def source(part: Source) -> str:
    """Where a part of the model comes from."""
    if part.folder:
        return f"from {part.folder}"
    return f"{part.hub} at {part.revision}" if part.hub else f"checkpoint “{part.whisper}”"


def _normalizer(language: str, name: str) -> str:
    """Name, language and what the normaliser does."""
    return f"{name} (for {language}): {languages.get(language).normalizer.summary}"


def text_forms(spec: ModelSpec, languages: Iterable[str]) -> dict[str, str]:
    """language -> how the model's family prepares its texts."""
    family = FAMILIES[spec.backend]
    return {language: family.text_form(language).describe(language) for language in languages}


def method(training: TrainingRecord, spec: ModelSpec, results: dict[str, Any]) -> list[tuple[str, str]]:
    """Terms and details; `results` are those of the tuned system, metric -> content of its JSON."""
    heard, speed, voice = (results[metric]["method"] for metric in ("wer", "speed", "similarity"))
    normalizers = "; ".join(_normalizer(language, name) for language, name in heard["normalizer"].items())
    forms = text_forms(spec, heard["normalizer"])
    return [
        ("Base model", source(spec.network)),
        ("Codec", source(spec.codec)),
        ("Licence of the weights", spec.weights_licence),
        *record.describe(training),
        (
            "WER and CER",
            "summed over the corpus; 95 % by bootstrap over clips; a clip without sound is all wrong",
        ),
        ("Text normaliser", normalizers),
        ("Text as the model reads it", "; ".join(f"{language}: {form}" for language, form in forms.items())),
        *own(asdict(spec.learning), asdict(spec.generation)),
        ("ASR", f"openai-whisper, {source(spec.asr)}, {heard['asr']}; {heard['decode']}"),
        ("MOS", f"{results['mos']['method']['predictor']}, mean over {results['mos']['method']['over']}"),
        (
            "Similarity",
            f"{voice['encoder']}; a voice is the mean of {voice['reference_clips']} training clips",
        ),
        ("RTF", "seconds of computing per second of speech, codec included, one clip at a time"),
        ("Timed on", timed_on(speed)),
        ("Loudness", "every system's clip is scaled to the loudness of its recording"),
    ]


def own(learning: dict[str, Any], generation: dict[str, Any]) -> list[tuple[str, str]]:
    """What the family alone was told; a family that has nothing of its own to learn by has no such term.

    A setting that is None has no value of its own: the family decides.
    """
    terms = {"Learning": learning, "Generation": generation}
    said = {
        term: [
            f"{key} {value if isinstance(value, str) else format(value, 'g')}"
            for key, value in values.items()
            if value is not None
        ]
        for term, values in terms.items()
    }
    return [(term, ", ".join(parts)) for term, parts in said.items() if parts]


def parameters(count: int | None) -> str:
    """`536.2 M`, in millions of parameters."""
    return "unknown" if count is None else f"{count / 1e6:,.1f} M"


def duration(seconds: float | None) -> str:
    """`2 h 05 min`, `3 min 20 s` or `4.2 s`."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest_s:02d} s"


def timed_on(speed: dict[str, Any]) -> str:
    """Of a speed's method: hardware, threads, and what the network spoke in."""
    threads = "1 thread" if speed["threads"] == 1 else f"{speed['threads']} threads"
    return f"{speed['hardware']}, {threads}, the network in {speed['precision']}"
