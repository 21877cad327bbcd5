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
    outs: the folder or files that it writes.
    """

    stage: Stage
    fan: dict[str, str]
    reads: dict[str, Path]
    seals: tuple[Path, ...]
    out: Path
    outs: tuple[Path, ...] = field(default=())
    takes: dict[Path, Path] = field(default_factory=dict)

    @property
    def seal(self) -> Path:
        return self.stage.seal_of(self.out)

    @property
    def name(self) -> str:
        return "-".join((self.stage.word, *self.fan.values()))


def fan_values(settings: Settings) -> dict[str, tuple[str, ...]]:
    return {
        "shard": tuple(manifest.shard_names(settings.shards)),
        "system": SYSTEMS,
        "metric": tuple(METRICS),
    }


def network_of(system: str) -> str:
    """The folder under models/<model>/ whose network a system speaks with."""
    return "merged" if system == "tuned" else "base"


def _fans(stage: Stage, settings: Settings) -> list[dict[str, str]]:
    values = fan_values(settings)
    return [
        dict(zip(stage.fan, combination, strict=True))
        for combination in itertools.product(*(values[key] for key in stage.fan))
    ]


def _variables(settings: Settings, fan: dict[str, str]) -> dict[str, str]:
    return {
        "model": settings.model,
        "corpus": settings.ingest.corpus,
        "network": network_of(fan.get("system", "")),
        **fan,
    }


def _upstream(stage: Stage, settings: Settings, fan: dict[str, str]) -> tuple[Path, ...]:
    seals = []
    for word in stage.after:
        if word == "corpus" and settings.ingest.corpus != DEMO:
            continue
        if word == "network":
            word = "merge" if network_of(fan["system"]) == "merged" else "fetch"
        upstream = STAGES[word]
        for other in _fans(upstream, settings):
            if all(fan.get(key, value) == value for key, value in other.items()):
                seals.append(upstream.seal_of(upstream.out.format(**_variables(settings, other))))
    return tuple(dict.fromkeys(seals))


def _taken(stage: Stage, variables: dict[str, str]) -> dict[Path, Path]:
    return {
        STAGES[word].seal_of(STAGES[word].out.format(**variables)): Path(path.format(**variables))
        for word, path in stage.takes.items()
    }


def of(settings: Settings) -> list[Job]:
    """Every job of the pipeline, upstream first."""
    made = []
    for stage in STAGES.values():
        for fan in _fans(stage, settings):
            variables = _variables(settings, fan)
            out = Path(stage.out.format(**variables))
            made.append(
                Job(
                    stage,
                    fan,
                    reads={flag: Path(path.format(**variables)) for flag, path in stage.reads.items()},
                    seals=_upstream(stage, settings, fan),
                    out=out,
                    outs=tuple(Path(f"{out}{part}") for part in stage.parts) or (out,),
                    takes=_taken(stage, variables),
                )
            )
    return made
