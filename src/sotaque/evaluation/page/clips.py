"""The table of clips: which are shown, and what each cell holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sotaque.evaluation.page.words import JUDGED
from sotaque.manifest import Utterance
from sotaque.metrics import TRANSCRIPTS, failures, registry
from sotaque.metrics.registry import Column
from sotaque.page import sound

WORST = 10


def rows(
    utterances: Sequence[Utterance], results: dict[str, dict[str, Any]], wav: Path, count: int
) -> list[dict[str, Any]]:
    """One row a text for up to `count` texts, the worst of the tuned system first."""
    scores = {system: by_id(metrics) for system, metrics in results.items()}
    folders = {system: wav / system for system in scores}
    return [row(utterance, scores, folders) for utterance in choose(utterances, scores, count)]


def choose(
    utterances: Sequence[Utterance], scores: dict[str, dict[str, dict[str, Any]]], count: int
) -> list[Utterance]:
    """The texts to show, the worst of the tuned system first.

    These are the worst ten; then an example of each kind of failure of each system; then a sample by hash.
    """
    judged = scores[JUDGED]
    ordered = sorted(utterances, key=lambda u: (_badness(judged.get(u.id, {})), u.id))
    examples: dict[tuple[str, str], Utterance] = {}
    for system, by_id in scores.items():
        for utterance in ordered:
            kind = by_id.get(utterance.id, {}).get("failure")
            if kind:
                examples.setdefault((system, kind), utterance)
    sample = sorted(utterances, key=lambda u: hashlib.sha256(u.id.encode()).digest())
    wanted = dict.fromkeys(u.id for u in (*ordered[:WORST], *examples.values(), *sample))
    taken = set(list(wanted)[:count])
    return [u for u in ordered if u.id in taken]


def _badness(score: dict[str, Any]) -> tuple[float, ...]:
    """Rises from the worst clip: failed clips first, then by each column that a clip has, unknown first."""
    key = [0.0 if score.get("failure") else 1.0]
    for column in columns():
        value = score.get(column.clip_field)
        sign = -1.0 if column.better == "lower" else 1.0
        key.append(float("-inf") if value is None else sign * value)
    return tuple(key)


def columns() -> list[Column]:
    """The columns that have a value in each clip."""
    return [column for _, column in registry.columns() if column.clip_field]


def by_id(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """id -> the numbers of one clip, what was recognised in it and how it failed."""
    found: dict[str, dict[str, Any]] = {}
    fields: dict[str, list[str]] = {TRANSCRIPTS: ["reference", "hypothesis", "failure"]}
    for metric, column in registry.columns():
        if column.clip_field:
            fields.setdefault(metric, []).append(column.clip_field)
    for metric, names in fields.items():
        for values in metrics[metric]["rows"]:
            found.setdefault(values["id"], {}).update({name: values[name] for name in names})
    return found


def failed(results: dict[str, dict[str, Any]], shown: Iterable[str]) -> list[dict[str, Any]]:
    """The kinds of failure that occur: kind, what it means, and for each system its clips.

    A clip is its id and whether it is among those `shown` on the page. Clips of named groups count too.
    """
    shown = set(shown)
    found = []
    for kind in failures.KINDS:
        clips = {
            system: [
                {"id": row["id"], "is_shown": row["id"] in shown}
                for row in metrics[TRANSCRIPTS]["rows"]
                if row["failure"] == kind
            ]
            for system, metrics in results.items()
        }
        if any(clips.values()):
            found.append({"kind": kind, "about": failures.ABOUT[kind], "systems": clips})
    return found


def row(utterance: Utterance, scores: dict[str, dict[str, Any]], folders: dict[str, Path]) -> dict[str, Any]:
    """One text: a cell for each system of `scores`, whose WAVs lie in its folder."""
    waves = {system: sound.read(folders[system] / f"{utterance.id}.wav") for system in scores}
    longest_s = max((len(wave) / rate_hz for wave, rate_hz in filter(None, waves.values())), default=1.0)
    keys: dict[str, Any] = {"text": utterance.text.casefold()}
    cells = []
    for system, by_id in scores.items():
        score = by_id.get(utterance.id, {})
        keys |= {f"{system}-{c.name}": score.get(c.clip_field) for c in columns()}
        cells.append({"system": system} | _numbers(score) | sound.player(waves[system], longest_s))
    return {
        "id": utterance.id,
        "text": utterance.text,
        "language": utterance.language,
        "group": utterance.group,
        "sort_keys": json.dumps(keys, ensure_ascii=False),
        "cells": cells,
    }


def sorts(systems: Iterable[str], first: str) -> list[tuple[str, str, str]]:
    """The orders of the page's rows: key, label, and the direction in which the worst clip is first.

    `first` says how the rows stand without sorting.
    """
    of_systems = [
        (f"{system}-{c.name}", f"{system}: {c.label}", "descending" if c.better == "lower" else "ascending")
        for system in systems
        for c in columns()
    ]
    return [("", first, ""), ("text", "text", "ascending"), *of_systems]


def _numbers(score: dict[str, Any]) -> dict[str, Any]:
    return {
        "numbers": [(c.label, score.get(c.clip_field), c.digits) for c in columns()],
        "failure": score.get("failure"),
        "words": compare(score.get("reference", ""), score.get("hypothesis", "")),
    }


def compare(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Words with their kind: right, wrong (heard instead or besides), missing (not heard)."""
    import jiwer

    if not hypothesis:
        return []
    out = jiwer.process_words(reference, hypothesis)
    expected, heard = out.references[0], out.hypotheses[0]
    words = []
    for chunk in out.alignments[0]:
        kind = "right" if chunk.type == "equal" else "wrong"
        words += [(word, kind) for word in heard[chunk.hyp_start_idx : chunk.hyp_end_idx]]
        if chunk.type == "delete":
            words += [(word, "missing") for word in expected[chunk.ref_start_idx : chunk.ref_end_idx]]
    return words
