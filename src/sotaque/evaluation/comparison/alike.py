"""Figures of two models can be compared when both learnt from the same clips and were measured alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sotaque.errors import InputError, join_first
from sotaque.evaluation.comparison.entry import Entry, command
from sotaque.evaluation.page.words import JUDGED
from sotaque.metrics import TRANSCRIPTS

NAMED = 3


def check(entries: Sequence[Entry]) -> None:
    """Raises InputError saying in what a model differs from the first one."""
    first = entries[0]
    for other in entries[1:]:
        differences = [*_of_splits(first, other), *_of_measures(first, other)]
        if differences:
            raise InputError(
                f"compare.models: {other.model} cannot stand beside {first.model}: {'; '.join(differences)}; "
                f"with one corpus, one asr in both models' files and one params.yaml, type: "
                f"{command(first.model)} && {command(other.model)}"
            )


def _of_splits(first: Entry, other: Entry) -> list[str]:
    ours, theirs = first.metrics["splits"], other.metrics["splits"]
    lines = [
        f"{part}: {_said(ours[part])} of {first.model}, {_said(theirs[part])} of {other.model}"
        for part in ours
        if ours[part] != theirs[part]
    ]
    if ours["test"] != theirs["test"]:
        lines += [_only(first, other), _only(other, first)]
    return [line for line in lines if line]


def _said(part: dict[str, Any]) -> str:
    return f"{part['clips']} clips ({part['sha256'][:8]})"


def _only(one: Entry, other: Entry) -> str:
    """The test clips, with what is said in them, that only one has."""
    ours, theirs = (
        {(r["id"], r["reference"]) for r in e.results[JUDGED][TRANSCRIPTS]["rows"]} for e in (one, other)
    )
    names = sorted(name for name, _ in ours - theirs)
    return f"test clips of {one.model} alone: {join_first(names, NAMED, ', ')}" if names else ""


def _of_measures(first: Entry, other: Entry) -> list[str]:
    return [
        f"{name} differs ({value} of {first.model}, {other.measured_with[name]} of {other.model})"
        for name, value in first.measured_with.items()
        if value != other.measured_with[name]
    ]
