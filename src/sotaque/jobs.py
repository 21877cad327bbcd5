"""The table of stages under given settings: every run of every stage, with concrete paths.

It feeds the seals, Snakemake's stamps, MLflow's runs and `sotaque verify`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from sotaque import manifest
from sotaque.settings import Settings
from sotaque.stages import DEMO, METRICS, STAGES, SYSTEMS, Stage


@dataclass(frozen=True)
class Job:
    """One run of one stage: concrete paths for one combination of its fan.

    seals: the seals of other stages that are its inputs. takes: of such a seal, the one file that matters.
    outs: the folder or files that it writes. inputs: seal -> patterns over the names in it, the files that
    are checked before the job runs. clips: manifests whose audio files are checked too.
    """

    stage: Stage
    fan: dict[str, str]
    reads: dict[str, Path]
    seals: tuple[Path, ...]
    out: Path
    outs: tuple[Path, ...] = field(default=())
    takes: dict[Path, Path] = field(default_factory=dict)
    inputs: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    clips: tuple[Path, ...] = ()

    @property
    def seal(self) -> Path:
        return self.stage.seal_of(self.out)

    @property
    def name(self) -> str:
        return "-".join((self.stage.word, *self.fan.values()))


Index = dict[Path, Job]  # seal -> the job that writes it


def fan_values(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {
        "shard": tuple(manifest.shard_names(settings.shards)),
        "system": SYSTEMS,
        "metric": tuple(METRICS),
    }


def network_of(system: str) -> str:
    """The folder under models/<model>/ whose network a system speaks with."""
    return "merged" if system == "tuned" else "base"


def of(settings: Settings) -> list[Job]:
    """Every job of the pipeline, upstream first."""
    expansion = _Expansion(settings)
    return [expansion.job(stage, fan) for stage in STAGES.values() for fan in expansion.fans(stage)]


def index_by_seal(settings: Settings) -> Index:
    """Every job of the pipeline by its seal, upstream first."""
    return {job.seal: job for job in of(settings)}


def find_upstream(job: Job, index: Index) -> list[Job]:
    """Every job that the output of `job` is made from, directly or not, upstream first."""
    found: set[Path] = set()
    waiting = [*job.seals]
    while waiting:
        seal = waiting.pop()
        if seal in index and seal not in found:
            found.add(seal)
            waiting += index[seal].seals
    return [other for seal, other in index.items() if seal in found]


class _Expansion:
    """Expands stages into jobs; all the work for one job is linear in its number of inputs."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._values = fan_values(settings)
        self._seals: dict[tuple, tuple[Path, ...]] = {}

    def fans(self, stage: Stage, fixed: dict[str, str] | None = None) -> list[dict[str, str]]:
        """The combinations of the stage's wildcards; those in `fixed` have that one value."""
        values = [(fixed[key],) if fixed and key in fixed else self._values[key] for key in stage.fan]
        return [dict(zip(stage.fan, combination, strict=True)) for combination in itertools.product(*values)]

    def job(self, stage: Stage, fan: dict[str, str]) -> Job:
        variables = self._variables(fan)
        out = Path(stage.out.format(**variables))
        seals = {word: self._seals_of(word, fan) for word in (*stage.after, *stage.inputs)}
        return Job(
            stage,
            fan,
            reads={flag: Path(path.format(**variables)) for flag, path in stage.reads.items()},
            seals=tuple(dict.fromkeys(seal for word in stage.after for seal in seals[word])),
            out=out,
            outs=tuple(Path(f"{out}{part}") for part in stage.parts) or (out,),
            takes={
                seal: Path(path.format(**variables))
                for word, path in stage.takes.items()
                for seal in self._seals_of(word, fan)
            },
            inputs={
                seal: tuple(pattern.format(**variables) for pattern in _patterns(stage, word, variables))
                for word, found in seals.items()
                for seal in found
            },
            clips=tuple(Path(path.format(**variables)) for path in stage.clips),
        )

    def _variables(self, fan: dict[str, str]) -> dict[str, str]:
        return {
            "model": self._settings.model,
            "corpus": self._settings.ingest.corpus,
            "network": network_of(fan.get("system", "")),
            **fan,
        }

    def _seals_of(self, word: str, fan: dict[str, str]) -> tuple[Path, ...]:
        """The seals of a stage before a job of this fan."""
        if word == "corpus" and self._settings.ingest.corpus != DEMO:
            return ()
        if word == "network":
            word = "merge" if network_of(fan["system"]) == "merged" else "fetch"
        stage = STAGES[word]
        key = (word, *(fan.get(name) for name in stage.fan))
        if key not in self._seals:
            outs = (stage.out.format(**self._variables(other)) for other in self.fans(stage, fan))
            self._seals[key] = tuple(stage.seal_of(out) for out in outs)
        return self._seals[key]


def _patterns(stage: Stage, word: str, variables: dict[str, str]) -> tuple[str, ...]:
    if word in stage.inputs:
        return stage.inputs[word]
    if word in stage.takes:
        taken = STAGES[word]
        root = Path(taken.out.format(**variables)).parent
        return (Path(stage.takes[word].format(**variables)).relative_to(root).as_posix(),)
    return ("*",)
