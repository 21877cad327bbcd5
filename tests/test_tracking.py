"""A real MLflow over a real SQLite, in a folder of the test's own."""

import shutil
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


def test_a_server_that_does_not_answer_costs_a_warning(workplace, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = run_pipeline("1e-4")
    assert "the pipeline goes on without it" in caplog.text
    assert all(job.seal.exists() for job in jobs.of(found) if job.stage.word == "report")


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
