"""The clips that are worst by each measure, with their players."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sotaque.data.measures.limits import LIMITS
from sotaque.data.measures.table import Table
from sotaque.data.page.words import MEASURES
from sotaque.manifest import Utterance
from sotaque.page import sound


def indices(clips: Table, count: int) -> dict[str, list[int]]:
    """code -> up to `count` clips, worst first; none that is as good as the best."""
    found = {}
    for limit in LIMITS:
        badness = limit.badness(clips)
        known = np.flatnonzero(np.isfinite(badness))
        least = badness[known].min() if len(known) else 0.0
        worse = known[badness[known] > least]
        found[limit.code] = worse[np.lexsort((worse, -badness[worse]))][:count].tolist()
    return found


def most_flags_first(worst: Mapping[str, Sequence[int]], flags: Mapping[str, np.ndarray]) -> list[int]:
    """Every clip that is among the worst by some code, once."""
    total = np.sum(list(flags.values()), axis=0)
    return sorted({i for some in worst.values() for i in some}, key=lambda i: (-total[i], i))


def rows(
    clips: Table, chosen: Mapping[int, Utterance], flags: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """What the page says of each of the chosen clips, index -> utterance, in their order."""
    longest_s = max((u.duration_s for u in chosen.values()), default=1.0)
    badness = {limit.code: limit.badness(clips) for limit in LIMITS}
    return [
        {
            "id": utterance.id,
            "text": utterance.text,
            "language": utterance.language,
            "speaker": utterance.speaker,
            "heard": clips.heard.get(utterance.id, ""),
            "sort_keys": _sort_keys(utterance, {code: b[index] for code, b in badness.items()}),
            "flags": [code for code, beyond in flags.items() if beyond[index]],
            "numbers": _numbers(clips, index),
        }
        | sound.player(sound.read(Path(utterance.audio)), longest_s)
        for index, utterance in chosen.items()
    ]


def _sort_keys(utterance: Utterance, badness: Mapping[str, float]) -> str:
    values = {code: float(value) if np.isfinite(value) else None for code, value in badness.items()}
    return json.dumps({"text": utterance.text.casefold(), **values}, ensure_ascii=False)


def _numbers(clips: Table, index: int) -> list[tuple[str, str]]:
    values = ((m, clips.values[name][index]) for name, m in MEASURES.items() if m.plotted)
    return [(measure.name, measure.value(value)) for measure, value in values if np.isfinite(value)]
