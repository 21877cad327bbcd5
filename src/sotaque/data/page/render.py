"""From measures to results/corpus.html: what the page says, in tables, histograms and sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import manifest as manifests
from sotaque.data.measures.characters import Alphabet
from sotaque.data.measures.limits import BY_CODE, LIMITS
from sotaque.data.measures.table import Table
from sotaque.data.page import letters, words, worst
from sotaque.data.page.counts import StageCount
from sotaque.errors import REMEDIES
from sotaque.manifest import Reject, Utterance
from sotaque.page import charts, template
from sotaque.settings import Settings

HERE = Path(__file__).parent
MOST_GROUPS = 50
MOST_LISTINGS = 20
BINS = 40


@dataclass(frozen=True)
class Page:
    """What the page is made of.

    flags: code -> (N,) bool, which clips are beyond the limit. wav: the folder of all shards. read: what
    ingest read, as data/manifest/listings.json has it.
    """

    settings: Settings
    clips: Table
    flags: dict[str, np.ndarray]
    wav: Path
    dropped: Sequence[Reject]
    alphabet: Alphabet | None
    stages: Sequence[StageCount]
    read: dict[str, Any]

    def html(self) -> str:
        return template.fill(HERE / "corpus.html", self._values())

    def _values(self) -> dict[str, Any]:
        chosen, characters = self._texts()
        by_code = [(code, f"worst by {code}") for code, some in self.worst.items() if some]
        return {
            "corpus": self.settings.ingest.corpus,
            "clips_total": len(self.clips),
            "hours": self.clips.values["duration_s"].sum() / 3600,
            "speakers_total": len(set(self.clips.words["speaker"])),
            "flagged": int(self.flagged.sum()),
            "dropped": len(self.dropped),
            "stages": self.stages,
            "read": self.read,
            "listings": self.read["listings"][:MOST_LISTINGS],
            "listings_left_out": len(self.read["listings"][MOST_LISTINGS:]),
            "codes": [self._code(code) for code in BY_CODE],
            "groups": [
                self._groups("Speakers", ("speaker", "language", "accent")),
                self._groups("Languages and accents", ("language", "accent")),
            ],
            **self._measures(),
            "clips": worst.rows(self.clips, chosen, self.flags),
            "clips_each": self.settings.survey.clips,
            "sorts": [("", "most flags first"), ("text", "text"), *by_code],
            "letters": letters.summary(characters, self.alphabet),
            "method": words.METHOD,
        }

    @cached_property
    def flagged(self) -> np.ndarray:
        """(N,) bool: by any code."""
        return np.any(list(self.flags.values()), axis=0)

    @cached_property
    def worst(self) -> dict[str, list[int]]:
        return worst.indices(self.clips, self.settings.survey.clips)

    def _texts(self) -> tuple[dict[int, Utterance], Counter[str]]:
        """The clips to be shown, by index; and the characters of all texts, with their counts."""
        shown = worst.most_flags_first(self.worst, self.flags)
        wanted = {self.clips.ids[index]: index for index in shown}
        found: dict[int, Utterance] = {}
        characters: Counter[str] = Counter()
        for shard in manifests.shard_names(self.settings.shards):
            for utterance in manifests.read(self.wav / shard / "manifest.jsonl"):
                characters.update(utterance.text)
                if utterance.id in wanted:
                    found[wanted[utterance.id]] = utterance
        return {index: found[index] for index in shown}, characters

    def _code(self, code: str) -> dict[str, Any]:
        limit = BY_CODE[code]
        values, measure = self.clips.values[limit.measure], words.MEASURES[limit.measure]
        return {
            "code": code,
            "condition": words.condition(limit, limit.bound(self.settings.quality)),
            "remedy": REMEDIES[code],
            "flagged": int(self.flags[code].sum()) if np.isfinite(values).any() else None,
            "why_not": words.NOT_MEASURED.get(limit.measure, "nothing to compare"),
            "dropped": sum(reject.code == code for reject in self.dropped),
            "worst": [(self.clips.ids[i], measure.value(values[i])) for i in self.worst[code]],
        }

    def _groups(self, caption: str, columns: tuple[str, ...]) -> dict[str, Any]:
        """Clips, hours and medians by the words of some columns, the most hours first."""
        members: dict[tuple[str, ...], list[int]] = {}
        for index, key in enumerate(zip(*(self.clips.words[c] for c in columns), strict=True)):
            members.setdefault(key, []).append(index)
        rows = [self._group(key, np.array(indices)) for key, indices in members.items()]
        rows.sort(key=lambda row: (-row["hours"], row["names"]))
        others = max(0, len(rows) - MOST_GROUPS)
        return {"caption": caption, "columns": columns, "rows": rows[:MOST_GROUPS], "others": others}

    def _group(self, names: tuple[str, ...], indices: np.ndarray) -> dict[str, Any]:
        medians = ("duration_s", "characters_per_s", "snr_db", "silence_share")
        values = self.clips.values
        return {
            "names": names,
            "clips": len(indices),
            "hours": float(values["duration_s"][indices].sum()) / 3600,
            "medians": [words.MEASURES[name].value(np.median(values[name][indices])) for name in medians],
            "flagged": int(self.flagged[indices].sum()),
        }

    def _measures(self) -> dict[str, Any]:
        """A histogram of each measure; one that is the same in every clip needs no picture."""
        drawn, constant = [], []
        for name, measure in words.MEASURES.items():
            values = self.clips.values[name][np.isfinite(self.clips.values[name])]
            if not measure.plotted or not len(values):
                continue
            if values.min() == values.max():
                constant.append((measure.within, measure.value(values[0])))
            else:
                drawn.append(self._chart(name, values))
        return {"charts": drawn, "constant": constant}

    def _chart(self, name: str, values: np.ndarray) -> Any:
        measure = words.MEASURES[name]
        low, middle, high = (measure.number(v) for v in np.percentile(values, (5, 50, 95)))
        bounds = {x.code: x.bound(self.settings.quality) for x in LIMITS if x.measure == name}
        levels = [
            charts.Level(f"limit of {code}: {bound:g}", x=bound, style=1) for code, bound in bounds.items()
        ]
        title = f"{measure.name}: median {middle}, nine in ten from {low} to {high} {measure.unit}".rstrip()
        return charts.histogram(title, measure.axis, values, BINS, levels)
