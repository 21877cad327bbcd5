"""The table of clips: which are shown, and what each cell holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sotaque.manifest import Utterance
from sotaque.page import sound

WORST = 10
JUDGED = "tuned"


def rows(
    utterances: Sequence[Utterance], results: dict[str, dict[str, Any]], wav: Path, count: int
) -> list[dict[str, Any]]:
    """One row a text for up to `count` texts, the worst of the tuned system first."""
    scores = {system: by_id(metrics) for system, metrics in results.items()}
    folders = {system: wav / system for system in scores}
    return [row(utterance, scores, folders) for utterance in choose(utterances, scores[JUDGED], count)]


def choose(utterances: Sequence[Utterance], scores: dict[str, dict[str, Any]], count: int) -> list[Utterance]:
    """The worst ten and a sample by hash of the others, worst first."""
    ordered = sorted(utterances, key=lambda u: _badness(scores.get(u.id, {}), u.id))
    worst, rest = ordered[: min(WORST, count)], ordered[min(WORST, count) :]
    sample = sorted(rest, key=lambda u: hashlib.sha256(u.id.encode()).digest())[: count - len(worst)]
    taken = {u.id for u in (*worst, *sample)}
    return [u for u in ordered if u.id in taken]


def _badness(score: dict[str, Any], identifier: str) -> tuple[float, float, str]:
    wer, similarity = score.get("wer"), score.get("similarity")
    return -(wer if wer is not None else 0.0), similarity if similarity is not None else -1.0, identifier


def by_id(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """id -> the numbers of one clip and what was heard."""
    found: dict[str, dict[str, Any]] = {}
    for metric, keys in {
        "wer": ("wer", "reference", "hypothesis"),
        "mos": ("mos",),
        "similarity": ("similarity",),
    }.items():
        for values in metrics[metric]["rows"]:
            found.setdefault(values["id"], {}).update({key: values[key] for key in keys})
    return found


def row(utterance: Utterance, scores: dict[str, dict[str, Any]], folders: dict[str, Path]) -> dict[str, Any]:
    """One text: a cell for each system of `scores`, whose WAVs lie in its folder."""
    waves = {system: sound.read(folders[system] / f"{utterance.id}.wav") for system in scores}
    longest_s = max((len(wave) / rate_hz for wave, rate_hz in filter(None, waves.values())), default=1.0)
    keys: dict[str, Any] = {"text": utterance.text.casefold()}
    cells = []
    for system, by_id in scores.items():
        score = by_id.get(utterance.id, {})
        keys |= {f"{system}-{name}": score.get(name) for name in ("wer", "similarity", "mos")}
        cells.append({"system": system} | _numbers(score) | sound.player(waves[system], longest_s))
    return {
        "id": utterance.id,
        "text": utterance.text,
        "language": utterance.language,
        "group": utterance.group,
        "sort_keys": json.dumps(keys, ensure_ascii=False),
        "cells": cells,
    }


def sorts(systems: Iterable[str], first: str) -> list[tuple[str, str]]:
    """The orders that the page's rows can be put in, key and label; `first` says how they stand."""
    measures = {"wer": "WER", "similarity": "similarity", "mos": "MOS"}
    of_systems = [(f"{s}-{m}", f"{s}: {label}") for s in systems for m, label in measures.items()]
    return [("", first), ("text", "text"), *of_systems]


def _numbers(score: dict[str, Any]) -> dict[str, Any]:
    heard = compare(score.get("reference", ""), score.get("hypothesis", ""))
    return {name: score.get(name) for name in ("wer", "similarity", "mos")} | {"words": heard}


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
