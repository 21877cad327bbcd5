"""What the report says in sentences: verdicts, paired differences, and how it was all measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sotaque.backends.families import FAMILIES
from sotaque.metrics import METRICS, TRANSCRIPTS, failures, registry
from sotaque.metrics.registry import Column
from sotaque.model_spec import ModelSpec, Source
from sotaque.training import record
from sotaque.training.record import TrainingRecord

JUDGED = "tuned"
DASH = "–"


def targets(verdicts: dict[str, Any]) -> list[str]:
    """A sentence for each verdict of metrics.json: state, value, target and why."""
    return [
        f"{t['state']}: {JUDGED} {column.label} {number(t['value'], column.fine_digits)}, "
        f"target {column.sign} {t['target']:g}: {t['why']}"
        for _, column in registry.columns()
        if column.target and (t := verdicts[column.target])
    ]


def differences(pairs: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each paired difference of metrics.json, with its intervals."""
    return [
        f"{name}, paired, 95 % in brackets: "
        + "; ".join(
            f"{column.label} {difference(column, found[column.name])}" for _, column in registry.columns()
        )
        for name, found in pairs.items()
    ]


def difference(column: Column, found: dict[str, Any]) -> str:
    """`−0.512 (−0.602 to −0.430)`, or a dash where nothing is known."""
    if found["value"] is None:
        return DASH
    value, low, high = (
        DASH if found[key] is None else f"{found[key]:+.{column.digits}f}" for key in ("value", "low", "high")
    )
    sentence = value if found["low"] is None else f"{value} ({low} to {high})"
    return sentence.replace("-", "−")


def number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def figure(row: dict[str, Any], column: Column) -> str:
    return number(row[column.name], column.digits)


def interval(row: dict[str, Any], column: Column) -> str:
    """`0.05–0.12`; empty where there is none."""
    low, high = row[f"{column.name}_low"], row[f"{column.name}_high"]
    if low is None or high is None:
        return ""
    return f"{low:.{column.digits}f}–{high:.{column.digits}f}".replace("-", "−")


def failed(row: dict[str, Any]) -> str:
    """`3 (limit 2, cut 1)`, of a system's figures."""
    kinds = ", ".join(f"{kind} {clips}" for kind in failures.KINDS if (clips := row["failures"][kind]))
    return f"{row['failed']} ({kinds})" if kinds else str(row["failed"])


def interval_methods(systems: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Column and sentence: how its intervals were made, or why there is none; by system where they differ."""
    lines = []
    for _, column in registry.columns():
        methods: dict[str, list[str]] = {}
        for system, row in systems.items():
            methods.setdefault(row["intervals"][column.name], []).append(system)
        by_system = [f"{', '.join(names)}: {method}" for method, names in methods.items()]
        lines.append((column.label, next(iter(methods)) if len(methods) == 1 else "; ".join(by_system)))
    return lines


def measured(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Terms and details of every metric; `results` are one system's, metric -> content of its JSON."""
    return [line for name in METRICS for line in registry.get(name).describe(results[name]["method"])]


def source(part: Source) -> str:
    """Where a part of the model comes from."""
    if part.folder:
        return f"from {part.folder}"
    return f"{part.hub} at {part.revision}" if part.hub else f"checkpoint “{part.whisper}”"


def languages(results: dict[str, Any]) -> list[str]:
    """Of the test clips, from one system's results."""
    return sorted(results[TRANSCRIPTS]["method"]["normalizer"])


def text_forms(spec: ModelSpec, languages: Iterable[str]) -> dict[str, str]:
    """language -> how the model's family prepares its texts."""
    family = FAMILIES[spec.backend]
    return {language: family.text_form(language).describe(language) for language in languages}


def method(training: TrainingRecord, spec: ModelSpec, results: dict[str, Any]) -> list[tuple[str, str]]:
    """Terms and details; `results` are those of the tuned system, metric -> content of its JSON."""
    forms = text_forms(spec, languages(results))
    return [
        ("Base model", source(spec.network)),
        ("Codec", source(spec.codec)),
        ("Licence of the weights", spec.weights_licence),
        *record.describe(training),
        ("Text as the model reads it", "; ".join(f"{language}: {form}" for language, form in forms.items())),
        *own(asdict(spec.learning), asdict(spec.generation)),
        ("Checkpoint of the ASR", source(spec.asr)),
        *measured(results),
        ("Loudness", "every system's clip is scaled to the loudness of its recording"),
    ]


def own(learning: dict[str, Any], generation: dict[str, Any]) -> list[tuple[str, str]]:
    """What the family alone was told; a family that has nothing of its own to learn by has no such term.

    A setting that is None has no value of its own: the family decides.
    """
    terms = {"Learning": learning, "Generation": generation}
    settings = {
        term: [
            f"{key} {value if isinstance(value, str) else format(value, 'g')}"
            for key, value in values.items()
            if value is not None
        ]
        for term, values in terms.items()
    }
    return [(term, ", ".join(parts)) for term, parts in settings.items() if parts]


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
