"""The only door to MLflow: one parent run a pipeline, one child run a stage. Other loggers see the curves.

Each stage leaves a small record under scratch/tracking; `train` logs its curves live, and `report`
turns the records into child runs, fills the parent and ends it. A pipeline is known by the checksum
of its parameters, code and source data, so no run id stands in any artefact. A tracking server that
does not answer costs a warning, never a result.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sotaque import files, seal
from sotaque.jobs import Job
from sotaque.settings import Settings
from sotaque.stages import DEMO
from sotaque.training import loggers

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

log = logging.getLogger("sotaque")

RECORDS = Path("scratch/tracking")
PACKAGES = ("torch", "transformers", "peft", "snac", "openai-whisper", "snakemake", "dvc", "mlflow")


@dataclass
class Live:
    """The stage that is running in this process."""

    job: Job
    settings: Settings
    run_id: str | None = None
    client: Any = None
    failed: bool = False
    others: dict[str, loggers.Logger] | None = None


_live: Live | None = None


def root() -> Path:
    """Where mlflow.db lies: the DVC root where there is one, else the working folder."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def pipeline_key(settings: Settings) -> str:
    """The checksum of everything that a pipeline's result depends on and that is known beforehand."""
    params = asdict(settings)
    del params["tracking"]
    corpus = Path("data/raw") / settings.ingest.corpus
    made_here = settings.ingest.corpus == DEMO or not corpus.is_dir()
    data = "" if made_here else seal.tree_sha256(corpus)
    return files.sha256_of({"params": params, "code": seal.code_sha256((".",)), "data": data})


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
    sealed = files.read_json(job.seal)
    files.write_json(
        RECORDS / pipeline_key(settings) / f"{job.name}.json",
        {
            "job": job.name,
            "params": _flat({**sealed["params"], **sealed["spec"]}),
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
        key, params = pipeline_key(live.settings), _flat(asdict(live.settings))
        about = loggers.About(live.settings.tracking.experiment, key, live.job.name, params)
        for name in live.settings.tracking.also:
            _reported(name, lambda name=name: live.others.update({name: loggers.LOGGERS[name](about, step)}))
    return live.others


def _log_live(live: Live, metrics: dict[str, float], step: int) -> None:
    from mlflow.entities import Metric

    if live.client is None:
        live.client = _client()
        parent = _parent(live.client, live.settings)
        live.run_id = _child(live.client, parent, live.job.name).info.run_id
    now = int(time.time() * 1000)
    live.client.log_batch(live.run_id, [Metric(key, value, now, step) for key, value in metrics.items()])


def _mlflow() -> str:
    return f"MLflow at {tracking_uri()}"


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


def _client() -> MlflowClient:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri())


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    path = Path(".locks/tracking")
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    place = None if os.environ.get("MLFLOW_TRACKING_URI") else (root() / "mlartifacts").as_uri()
    kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on traces
    return client.create_experiment(name, artifact_location=place, tags=kind)


def _parent(client: MlflowClient, settings: Settings) -> Run:
    """The run of this pipeline, found by its key or created."""
    with _one_at_a_time():
        experiment = _experiment(client, settings.tracking.experiment)
        key = pipeline_key(settings)
        found = client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'", max_results=1)
        if found:
            return found[0]
        name = os.environ.get("DVC_EXP_NAME") or f"{settings.model}-lr{settings.lr:g}-{key[:6]}"
        run = client.create_run(experiment, run_name=name, tags={"pipeline.key": key, **_tags()})
        for param, value in _flat(asdict(settings)).items():
            client.log_param(run.info.run_id, param, value)
        return run


def _child(client: MlflowClient, parent: Run, name: str) -> Run:
    with _one_at_a_time():
        experiment = parent.info.experiment_id
        mine = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`stage.job` = '{name}'"
        found = client.search_runs([experiment], mine, max_results=1)
        if found:
            return found[0]
        tags = {"mlflow.parentRunId": parent.info.run_id, "stage.job": name, **_tags()}
        return client.create_run(experiment, run_name=name, tags=tags)


def _tags() -> dict[str, str]:
    tags = {
        "git.commit": _git_commit(),
        "engine": "dvc" if "DVC_ROOT" in os.environ else os.environ.get("SOTAQUE_ENGINE", "command line"),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        **{f"version.{name}": importlib.metadata.version(name) for name in PACKAGES},
    }
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc.experiment"] = os.environ["DVC_EXP_NAME"]
    return tags


def _git_commit() -> str:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return "unknown: git is not installed"
    return found.stdout.strip() or "unknown"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _publish(settings: Settings, report: Job) -> None:
    """Turn the waiting records into child runs, then fill the parent and end it."""
    client = _client()
    parent = _parent(client, settings)
    for path in files.walk(RECORDS / pipeline_key(settings)):
        _publish_stage(client, parent, files.read_json(path))
        path.unlink()
    for key, value in _headline(files.read_json(report.out / "metrics.json")).items():
        client.log_metric(parent.info.run_id, key, value)
    seals = [(path.as_posix(), files.sha256(path)) for path in (*report.seals, report.seal)]
    _log_inputs(client, parent.info.run_id, seals)
    for out in report.outs:
        client.log_artifact(parent.info.run_id, str(out))
    for wave in sorted((report.out / "wav").glob("*/*.wav"))[:: max(1, settings.report.clips // 2)]:
        client.log_artifact(parent.info.run_id, str(wave), f"wav/{wave.parent.name}")
    client.set_terminated(parent.info.run_id)


def _publish_stage(client: MlflowClient, parent: Run, record: dict[str, Any]) -> None:
    from mlflow.entities import Metric, Param

    run = _child(client, parent, record["job"]).info
    known = client.get_run(run.run_id).data.params
    params = [Param(key, value[:6000]) for key, value in record["params"].items() if key not in known]
    seconds = (record["ended_ms"] - record["started_ms"]) / 1000
    metrics = [
        Metric(key, value, record["ended_ms"], 0)
        for key, value in {**record["metrics"], "duration_s": seconds}.items()
    ]
    client.log_batch(run.run_id, metrics=metrics, params=params)
    _log_inputs(client, run.run_id, [(record["seal_path"], record["seal"])])
    client.set_terminated(run.run_id, end_time=record["ended_ms"])


def _log_inputs(client: MlflowClient, run_id: str, seals: list[tuple[str, str]]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    client.log_inputs(
        run_id,
        [
            DatasetInput(Dataset(name=path, digest=digest[:32], source_type="local", source=path))
            for path, digest in seals
        ],
    )


def _headline(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        f"{system}.{name}": float(value)
        for system, values in metrics["systems"].items()
        for name, value in values.items()
        if isinstance(value, (int, float))
    }
