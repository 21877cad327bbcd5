"""The only door to MLflow: one parent run a pipeline, one child run a stage. Other loggers see the curves.

Each stage leaves a small record under scratch/tracking; `train` logs its curves live, and `report`
turns the records into child runs, fills the parent and ends it. A pipeline is known by the checksum
of its parameters, code and source data, so no run id stands in any artefact. A tracking server that
does not answer costs a warning, never a result.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sotaque import files, seal
from sotaque.jobs import Job
from sotaque.settings import Settings
from sotaque.training import loggers, mlflow_runs
from sotaque.training.mlflow_runs import flat, pipeline_key

log = logging.getLogger("sotaque")

RECORDS = Path("scratch/tracking")
# How long a stage may wait for a server in all: so long, and a share of the time that it runs.
WAIT_S, WAIT_SHARE = 10.0, 0.1
PUBLISH_S = 300.0  # for all runs and files of a pipeline at its end


@dataclass
class Live:
    """The stage that is running in this process."""

    job: Job
    settings: Settings
    run_id: str | None = None
    client: Any = None
    failed: bool = False
    others: dict[str, loggers.Logger] | None = None
    started_s: float = field(default_factory=time.monotonic)
    waited_s: float = 0.0


_live: Live | None = None


@contextlib.contextmanager
def stage(job: Job, settings: Settings) -> Iterator[dict[str, float]]:
    """Time a stage; the metrics put into the yielded dict are recorded when it ends well."""
    global _live
    loggers.check(settings.tracking.also)
    _live = Live(job, settings)
    metrics: dict[str, float] = {}
    started = time.time()
    try:
        yield metrics
        if settings.tracking.enabled:
            _record(job, settings, metrics, started)
            if job.stage.word == "report":
                _reported(_mlflow(), _publish, settings, job)
    finally:
        for name, logger in (_live.others or {}).items():
            _reported(name, logger.close)
        _live = None


def _record(job: Job, settings: Settings, metrics: dict[str, float], started: float) -> None:
    sealed = seal.read(job.seal)
    files.write_json(
        RECORDS / pipeline_key(settings) / f"{job.name}.json",
        {
            "job": job.name,
            "params": flat({**sealed["params"], **sealed["spec"]}),
            "metrics": {key: float(value) for key, value in metrics.items() if value is not None},
            "seal": files.sha256(job.seal),
            "seal_path": job.seal.as_posix(),
            "started_ms": int(started * 1000),
            "ended_ms": int(time.time() * 1000),
        },
    )


def log_metrics(metrics: dict[str, float], step: int) -> None:
    """One point of each curve of the running stage, seen at once by whoever looks."""
    if _live is None:
        return
    if _live.settings.tracking.enabled and not _live.failed:
        _live.failed = not _reported(_mlflow(), _log_live, _live, metrics, step)
    for name, logger in list(_others(_live, step).items()):
        if not _reported(name, logger.log, metrics, step):
            del _live.others[name]


def _others(live: Live, step: int) -> dict[str, loggers.Logger]:
    """The loggers of tracking.also, opened with the first point."""
    if live.others is None:
        live.others = {}
        for name in live.settings.tracking.also:
            _reported(name, _open, live, name, step)
    return live.others


def _open(live: Live, name: str, step: int) -> None:
    key, params = pipeline_key(live.settings), flat(asdict(live.settings))
    about = loggers.About(live.settings.tracking.experiment, key, live.job.name, params)
    live.others[name] = loggers.LOGGERS[name](about, step)


def _log_live(live: Live, metrics: dict[str, float], step: int) -> None:
    import mlflow.tracking  # noqa: F401 - its import takes seconds, which are not the server's
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [Metric(key, value, now, step) for key, value in metrics.items()]
    key = pipeline_key(live.settings) if live.run_id is None else ""

    def send() -> None:
        if live.run_id is None:
            live.client = mlflow_runs.connect()
            parent = mlflow_runs.parent_of(live.client, live.settings, key)
            live.run_id = mlflow_runs.child_of(live.client, parent, live.job.name).info.run_id
        live.client.log_batch(live.run_id, points)

    begun_s = time.monotonic()
    mlflow_runs.call_within(WAIT_S + WAIT_SHARE * (begun_s - live.started_s) - live.waited_s, send)
    live.waited_s += time.monotonic() - begun_s


def _publish(settings: Settings, report: Job) -> None:
    import mlflow.tracking  # noqa: F401 - as above

    key = pipeline_key(settings)
    mlflow_runs.call_within(PUBLISH_S, lambda: mlflow_runs.publish(settings, report, RECORDS / key, key))


def _mlflow() -> str:
    return f"MLflow at {mlflow_runs.tracking_uri()}"


def _reported(whom: str, action: Callable[..., None], *arguments: Any) -> bool:
    try:
        action(*arguments)
        return True
    except Exception as error:  # tracking is a memory, never a reason to lose a result
        log.warning(
            "%s: %s: %s; the pipeline goes on without it",
            whom,
            type(error).__name__,
            str(error).splitlines()[0] if str(error) else "",
        )
        return False
