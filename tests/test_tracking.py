"""A real MLflow over a real SQLite, in a folder of the test's own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

import seals
from sotaque import files, jobs, seal, settings
from sotaque.errors import SettingsError
from sotaque.training import mlflow_runs, tracking

METRICS = {"systems": {"reference": {"wer": 0.01, "rtf": None}, "tuned": {"wer": 0.1, "rtf": 0.3}}}


def make(job, found, metrics):
    """Run a stage as the command line does, with outputs written by hand."""
    seals.write(found, [path for path in job.seals if not path.exists()])
    with tracking.stage(job, found) as told:
        told |= metrics
        for out in job.outs:
            if job.stage.parts:
                files.write_json(out, METRICS)
            else:
                files.write_text(out / "row.txt", "made")
        if job.stage.word == "train":
            tracking.log_metrics({"train_nats": 3.0}, step=1)
            tracking.log_metrics({"train_nats": 2.0}, step=2)
        seal.close(job, seal.wanted(job, found))


def run_pipeline(lr, also="[]", enabled="true"):
    Path("params.yaml").write_text(f"lr: {lr}\ntracking: {{also: {also}, enabled: {enabled}}}\n")
    found = settings.read(Path("params.yaml"))
    for job in jobs.of(found):
        if job.stage.word in ("corpus", "train", "report"):
            make(job, found, {"clips": 3.0})
    return found


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """MLflow's tables, made once: the migrations take seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(workplace, empty_database):
    shutil.copy(empty_database, workplace)
    run_pipeline("1e-4")
    return MlflowClient(mlflow_runs.tracking_uri())


def parents(client):
    runs = client.search_runs([client.get_experiment_by_name("sotaque").experiment_id])
    return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def test_one_parent_with_a_child_per_stage(client):
    (parent,) = parents(client)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["lr"] == "0.0001"
    assert parent.data.metrics == {"reference.wer": 0.01, "tuned.wer": 0.1, "tuned.rtf": 0.3}
    assert {"git.commit", "engine", "hardware", "version.torch"} <= set(parent.data.tags)
    assert {"report.html", "metrics.json"} <= {a.path for a in client.list_artifacts(parent.info.run_id)}
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert {child.data.tags["stage.job"] for child in children} == {"corpus", "train", "report"}
    assert all(child.data.metrics["clips"] == 3.0 for child in children)


def test_the_curve_of_train_is_there_point_by_point(client):
    (parent,) = parents(client)
    (train,) = client.search_runs([parent.info.experiment_id], "tags.`stage.job` = 'train'")
    assert [(m.step, m.value) for m in client.get_metric_history(train.info.run_id, "train_nats")] == [
        (1, 3.0),
        (2, 2.0),
    ]


def test_the_same_parameters_are_the_same_parent_and_others_another(client):
    run_pipeline("1e-4")
    assert len(parents(client)) == 1
    run_pipeline("5e-4")
    assert {run.data.params["lr"] for run in parents(client)} == {"0.0001", "0.0005"}


def test_the_data_of_a_run_are_named_by_their_seals(client):
    (parent,) = parents(client)
    digests = {
        entry.dataset.name: entry.dataset.digest
        for entry in client.get_run(parent.info.run_id).inputs.dataset_inputs
    }
    assert (
        digests["results/micro/report.seal.json"] == files.sha256(Path("results/micro/report.seal.json"))[:32]
    )


def refuse(connection):
    connection.close()


def keep_silent(connection):
    connection.recv(2**16)


def answer_500(connection):
    while connection.recv(2**16):
        connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")


def trickle(connection):
    """An answer that never ends: no single wait for a byte is long."""
    connection.recv(2**16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.2)


@contextlib.contextmanager
def loopback_server(behave):
    """A server on this machine; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connections = []

        def behave_until_closed(connection):
            with contextlib.suppress(OSError):
                behave(connection)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connections.append(listening.accept()[0])
                    threading.Thread(target=behave_until_closed, args=connections[-1:], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("behave", [refuse, keep_silent, answer_500, trickle])
def test_a_server_that_does_not_answer_costs_a_warning_and_seconds(workplace, monkeypatch, caplog, behave):
    """Two stages ask it, train at each point and report at its end; each warns once."""
    monkeypatch.setattr(tracking, "WAIT_S", 1.0)
    monkeypatch.setattr(tracking, "PUBLISH_S", 1.0)
    with loopback_server(behave) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        started = time.monotonic()
        found = run_pipeline("1e-4")
        took_s = time.monotonic() - started
    assert took_s < 20
    assert [record.name for record in caplog.records].count("sotaque") == 2
    assert caplog.text.count("the pipeline goes on without it") == 2
    assert all(job.seal.exists() for job in jobs.of(found) if job.stage.word == "report")


def test_a_port_where_nobody_listens_costs_a_warning(workplace, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run_pipeline("1e-4")
    assert caplog.text.count("the pipeline goes on without it") == 2


@contextlib.contextmanager
def mlflow_server(folder):
    """A real one over a database in `folder`, in a process group of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/files",
    ]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen([*command, *store], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}")
        yield server, f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


POINTS = 5


def wait_until_healthy(address):
    for _ in range(900):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=1):  # noqa: S310
            return
        time.sleep(0.1)


def log_points(fault):
    """Of a train stage that is killed at its end; `fault` befalls the server after the first point."""
    found = settings.read(Path("params.yaml"))
    job = next(job for job in jobs.of(found) if job.stage.word == "train")
    with contextlib.suppress(KeyboardInterrupt), tracking.stage(job, found):
        tracking.log_metrics({"train_nats": 3.0}, step=1)
        fault()
        started = time.monotonic()
        for step in range(2, POINTS + 1):
            tracking.log_metrics({"train_nats": 2.0}, step=step)
        assert time.monotonic() - started < 15
        raise KeyboardInterrupt


def test_a_server_that_dies_in_the_middle_keeps_what_it_had(workplace, empty_database, monkeypatch, caplog):
    """Stopped, it accepts connections and never answers; killed, it refuses them."""
    shutil.copy(empty_database, workplace)
    warning = "the pipeline goes on without it"

    def signal_server(number):
        monkeypatch.setattr(tracking, "WAIT_S", 2.0)
        os.killpg(server.pid, number)

    with mlflow_server(workplace) as (server, address):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setattr(tracking, "WAIT_S", 90.0)  # a busy machine's server is slow, and well
        Path("params.yaml").write_text("lr: 1e-4\n")
        log_points(lambda: None)
        assert warning not in caplog.text
        Path("params.yaml").write_text("lr: 2e-4\n")
        log_points(lambda: signal_server(signal.SIGSTOP))
        assert caplog.text.count(warning) == 1
        os.killpg(server.pid, signal.SIGCONT)
        wait_until_healthy(address)
        monkeypatch.setattr(tracking, "WAIT_S", 90.0)
        Path("params.yaml").write_text("lr: 3e-4\n")
        log_points(lambda: signal_server(signal.SIGKILL))
        assert caplog.text.count(warning) == 2
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    experiment = client.get_experiment_by_name("sotaque").experiment_id
    runs = client.search_runs([experiment], "tags.`stage.job` = 'train'", order_by=["attributes.start_time"])
    curves = [client.get_metric_history(run.info.run_id, "train_nats") for run in runs]
    assert [point.step for point in curves[0]] == list(range(1, POINTS + 1))
    assert [(curve[0].step, curve[0].value) for curve in curves] == [(1, 3.0)] * 3


def test_tensorboard_reads_the_curve_of_train(workplace):
    """By TensorBoard's own reader; a run that goes on behind a point has the new one."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        found = run_pipeline("1e-4", "[tensorboard]", enabled="false")
    folder = Path("logs/tensorboard") / f"train-{mlflow_runs.pipeline_key(found)[:12]}"
    events = EventAccumulator(str(folder)).Reload()
    assert events.Tags()["scalars"] == ["train_nats"]
    assert [(e.step, e.value) for e in events.Scalars("train_nats")] == [(1, 3.0), (2, 2.0)]
    assert not Path("mlflow.db").exists()


def test_a_logger_without_its_package_is_named_before_anything_is_done(workplace, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(SettingsError, match=r"also names trackio, whose package .* -m pip install trackio$"):
        run_pipeline("1e-4", "[trackio]")
    assert not Path("models").exists()


def test_a_logger_that_fails_costs_a_warning(workplace, caplog):
    """Its folder cannot be made, for a file bears the name."""
    Path("logs").write_text("in the way")
    run_pipeline("1e-4", "[tensorboard]", enabled="false")
    assert "tensorboard: " in caplog.text
    assert "the pipeline goes on without it" in caplog.text
    assert caplog.text.count("goes on") == 1
