"""The runs of MLflow: one parent for a pipeline, one child for each of its stages.

Runs are found again by tags: the parent by the pipeline's key, a child by its parent and its job.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sotaque import files, seal
from sotaque.errors import IntegrityError
from sotaque.jobs import Job
from sotaque.settings import Settings
from sotaque.stages import DEMO, STAGES

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PARAMS_AT_ONCE = 100  # MLflow takes no more in one request
PACKAGES = ("torch", "transformers", "peft", "snac", "openai-whisper", "snakemake", "dvc", "mlflow")


def root() -> Path:
    """Where mlflow.db lies: the DVC root where there is one, else the working folder."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def pipeline_key(settings: Settings) -> str:
    """The checksum of everything that a pipeline's result depends on and that is known beforehand."""
    params = asdict(settings)
    del params["tracking"], params["compare"]
    data = corpus_sha256(settings)
    return files.sha256_of({"params": params, "code": seal.code_sha256((".",)), "data": data})


def corpus_sha256(settings: Settings) -> str:
    """That of a person's own corpus, as ingest has sealed it or, before that, as it lies there."""
    corpus, ingest = Path("data/raw") / settings.ingest.corpus, STAGES["ingest"]
    sealed = ingest.seal_of(ingest.out)
    if settings.ingest.corpus == DEMO or not corpus.is_dir():
        return ""
    try:
        known = seal.read(sealed)["upstream"]
    except IntegrityError:
        known = {}
    return known.get(corpus.as_posix()) or seal.tree_sha256(corpus)


def is_remote() -> bool:
    """Whether a server keeps the runs, which may be dead or silent; a file on this machine is neither."""
    return urlsplit(tracking_uri()).scheme not in ("", "file", "sqlite")


def call_within(limit_s: float, action: Callable[[], None]) -> None:
    """Call `action`, and wait at most `limit_s` seconds for it where a server must answer.

    MLflow's own limits are for one request, and hold for every retry of it. What has not ended by then is
    left to a thread that ends with the process.

    Raises TimeoutError, and whatever `action` raises.
    """
    if not is_remote():
        action()
        return
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            action()
            outcome.put(None)
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True, name="mlflow").start()
    try:
        error = outcome.get(timeout=max(limit_s, 0.001))
    except queue.Empty:
        raise TimeoutError(f"no answer within {limit_s:.0f} s") from None
    if error is not None:
        raise error


def connect() -> MlflowClient:
    """A client; one request may take seconds, unless MLflow's variables say otherwise."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry would be a warning
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


def parent_of(client: MlflowClient, settings: Settings, key: str) -> Run:
    """The run of this pipeline, found by its key or created."""
    from mlflow.entities import Param

    with _one_at_a_time():
        experiment = _experiment(client, settings.tracking.experiment)
        found = client.search_runs([experiment], f"tags.`pipeline.key` = '{key}'", max_results=1)
        if found:
            return found[0]
        name = os.environ.get("DVC_EXP_NAME") or f"{settings.model}-lr{settings.lr:g}-{key[:6]}"
        run = client.create_run(experiment, run_name=name, tags={"pipeline.key": key, **_tags()})
        params = [Param(name, value[:6000]) for name, value in flat(asdict(settings)).items()]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            client.log_batch(run.info.run_id, params=params[start : start + _PARAMS_AT_ONCE])
        return run


def child_of(client: MlflowClient, parent: Run, name: str) -> Run:
    with _one_at_a_time():
        experiment = parent.info.experiment_id
        mine = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`stage.job` = '{name}'"
        found = client.search_runs([experiment], mine, max_results=1)
        if found:
            return found[0]
        tags = {"mlflow.parentRunId": parent.info.run_id, "stage.job": name, **_tags()}
        return client.create_run(experiment, run_name=name, tags=tags)


def _tags() -> dict[str, str]:
    import importlib.metadata

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


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and their values as words."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def publish(settings: Settings, report: Job, records: Path, key: str) -> None:
    """Turn the waiting records into child runs, then fill the parent and end it."""
    client = connect()
    parent = parent_of(client, settings, key)
    for path in files.walk(records):
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

    run = child_of(client, parent, record["job"]).info
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
    """`tuned.wer`, `tuned.wer_low`, `tuned.failures.limit`, ..."""
    found = {}
    for system, values in metrics["systems"].items():
        for name, value in values.items():
            if isinstance(value, (int, float)):
                found[f"{system}.{name}"] = float(value)
        for kind, clips in values.get("failures", {}).items():
            found[f"{system}.failures.{kind}"] = float(clips)
    return found
