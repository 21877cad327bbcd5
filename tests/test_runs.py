"""A run owns its parameters: real engines, several at once, edits in the middle, kills."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import seals
from commands import environment, run
from sotaque import files, jobs, runs, seal, settings
from sotaque.errors import IntegrityError, SettingsError
from sotaque.settings import Settings
from sounds import save, voice

QUIETER = ("--config", "normalize={loudness_lufs: -26}")
LOUDER = ("--config", "normalize={loudness_lufs: -20}")
SHARDS = [Path(f"data/wav/0{number}/seal.json") for number in range(2)]
PARAMS = """
model: micro
shards: 2
ingest: {corpus: mine, max_rejected_share: 1.0}
tracking: {enabled: false}
"""
EXECUTOR = '''
import subprocess
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False,
    pass_default_storage_provider_args=True, pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True, auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)

class Executor(RemoteExecutor):
    """As a cluster: each job is a Snakemake of its own, started later."""
    def __post_init__(self):
        pass
    def run_job(self, job):
        process = subprocess.Popen(self.format_job_exec(job), shell=True)
        info = SubmittedJobInfo(job, external_jobid=process.pid, aux={"process": process})
        self.report_job_submission(info)
    async def check_active_jobs(self, active_jobs):
        for info in active_jobs:
            status = info.aux["process"].poll()
            if status is None:
                yield info
            elif status:
                self.report_job_error(info)
            else:
                self.report_job_success(info)
    def cancel_jobs(self, active_jobs):
        pass
'''


@pytest.fixture
def corpus(clone):
    """A clone with six clips in two shards."""
    for number in range(6):
        save(Path(f"data/raw/mine/wavs/c{number}.wav"), voice(0.6 + number / 10))
    Path("data/raw/mine/metadata.csv").write_text("".join(f"c{n}|Frase número {n}.\n" for n in range(6)))
    Path("params.yaml").write_text(PARAMS)
    return clone


def snakemake(*words):
    """A Snakemake that has started."""
    command = ("snakemake", "--cores", "1", *map(str, SHARDS), *words)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )


@contextlib.contextmanager
def held(job):
    """Keep a job from its output, so that its run stays in the middle for as long as the block lasts."""
    Path(".locks").mkdir(exist_ok=True)
    with (Path(".locks") / job).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def wait_for(job, process):
    log, deadline = Path(f"logs/{job}.log"), time.monotonic() + 120
    while not (log.exists() and "another process is at it" in log.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def wait_for_run(process):
    """Until the process has begun a run."""
    deadline = time.monotonic() + 120
    while not any(
        files.read_record(path).get("pid") == process.pid for path in Path(".stamps").glob("run-*")
    ):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def loudness(path):
    return json.loads(path.read_text())["params"]["normalize"]["loudness_lufs"]


def test_a_run_keeps_its_parameters_and_another_run_is_refused_by_name(corpus):
    """Asked for -20 LUFS, while params.yaml is edited, and others ask for -26 and -20."""
    with held("normalize-00"):
        first = snakemake(*LOUDER)
        wait_for("normalize-00", first)
        refused = run("snakemake", "--cores", "1", str(SHARDS[0]), *QUIETER, check=False)
        assert refused.returncode == 2
        assert "normalize.loudness_lufs is -20.0 there and -26.0 here" in refused.stderr
        assert f"process {first.pid} on " in refused.stderr
        assert "Wait until it has ended" in refused.stderr
        assert "Traceback" not in refused.stderr
        stage = run("sotaque", "ingest", "--params", "params.yaml", check=False)
        assert stage.returncode == 2
        assert "normalize.loudness_lufs is -20.0 there and -23.0 here" in stage.stderr
        frozen = {path.name: path.read_bytes() for path in Path(".stamps").iterdir()}
        shown = run("snakemake", "-n", "--cores", "1", str(SHARDS[0]), *QUIETER)
        assert "normalize.loudness_lufs is -20.0 there and -26.0 here" in shown.stderr
        assert {path.name: path.read_bytes() for path in Path(".stamps").iterdir()} == frozen
        same = snakemake("--config", "normalize={loudness_lufs: -20.0}")
        wait_for_run(same)
        Path("params.yaml").write_text("shards: [this is no number")
    assert first.wait() == 0, first.stdout.read()
    assert same.wait() == 0, same.stdout.read()
    Path("params.yaml").write_text(PARAMS)
    assert [loudness(path) for path in SHARDS] == [-20.0, -20.0]
    after = snakemake(*QUIETER)
    assert after.wait() == 0, after.stdout.read()
    assert [loudness(path) for path in SHARDS] == [-26.0, -26.0]
    assert len(list(Path(".stamps").glob("params-*.yaml"))) == 1


def test_after_a_kill_another_run_starts_at_once_and_the_orphan_spoils_nothing(corpus):
    """The job of the killed run still waits for its output; it must not make it in the end."""
    with held("normalize-00"):
        killed = snakemake(*LOUDER)
        wait_for("normalize-00", killed)
        killed.kill()
        killed.wait()
        second = snakemake(*QUIETER)
        wait_for_run(second)
    assert second.wait() == 0, second.stdout.read()
    time.sleep(1)
    assert [loudness(path) for path in SHARDS] == [-26.0, -26.0]
    found = settings.read(Path("params.yaml"))
    assert not any(seal.differences(job) for job in jobs.of(found) if job.seal in SHARDS)


def test_after_a_kill_the_same_command_goes_on(corpus):
    with held("normalize-00"):
        killed = snakemake(*LOUDER)
        wait_for("normalize-00", killed)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    again = snakemake(*LOUDER)
    assert again.wait() == 0, again.stdout.read()
    assert [loudness(path) for path in SHARDS] == [-20.0, -20.0]


def test_jobs_of_a_cluster_that_start_later_have_the_parameters_of_their_run(corpus, monkeypatch):
    """Each is a Snakemake of its own, which reads neither params.yaml nor --config."""
    plugin = corpus / "plugins/snakemake_executor_plugin_later"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(EXECUTOR)
    words = ("snakemake", "--executor", "later", "--jobs", "1", "--cores", "1", "--workflow-profile", "none")
    path = {"PYTHONPATH": f"{corpus / 'src'}:{plugin.parent}"}
    with held("normalize-00"):
        process = subprocess.Popen(
            [*words, "--seconds-between-status-checks", "1", "--nolock", *map(str, SHARDS), *LOUDER],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**environment(), **path},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not Path("logs/normalize-00.log").exists() and not SHARDS[1].exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        Path("params.yaml").write_text("shards: [this is no number")
    assert process.wait() == 0, process.stdout.read()
    assert [loudness(path) for path in SHARDS] == [-20.0, -20.0]


def test_the_models_file_belongs_to_the_run_too(corpus):
    model = Path("workflow/models/micro.yaml")
    with held("normalize-00"):
        first = snakemake("--keep-going", "--jobs", "1")
        wait_for("normalize-00", first)
        model.write_text(model.read_text().replace("sample_rate_hz: 24000", "sample_rate_hz: 16000"))
    said = first.communicate()[0]
    assert first.returncode == 1
    assert "workflow/models/micro.yaml was edited during the run: sample_rate_hz was 24000 when the" in said
    assert not all(path.exists() for path in SHARDS)


def test_dvc_stops_where_params_were_edited_between_two_stages(corpus):
    """`dvc repro` reads params.yaml for each stage anew."""
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace('["00", "01", "02", "03"]', '["00", "01"]'))
    Path("params.yaml").write_text(PARAMS + "normalize: {loudness_lufs: -23}\n")
    run("dvc", "repro", "normalize@00")
    Path("params.yaml").write_text(PARAMS + "normalize: {loudness_lufs: -20}\n")
    run("dvc", "repro", "--single-item", "normalize@01")
    for path in (Path("data/measures/00.jsonl"), Path("data/measures/01.jsonl"), Path("data/quality/x")):
        files.write_text(path, "")
    found = settings.read(Path("params.yaml"))
    hands = [job.seal for job in jobs.of(found) if job.stage.word in ("measure", "quality")]
    seals.write(found, hands)
    done = run("sotaque", "split", check=False)
    assert done.returncode == 1
    assert "data/wav/00/seal.json: normalize-00 ran with other parameters than split has" in done.stderr
    assert "normalize.loudness_lufs was -23.0 then and is -20.0 now" in done.stderr
    run("dvc", "repro", "normalize@00")
    assert [loudness(path) for path in SHARDS] == [-20.0, -20.0]


def test_dvc_notes_no_parameters_that_a_stage_did_not_have(corpus):
    """DVC reads params.yaml again when a stage has ended."""
    with held("ingest"):
        process = subprocess.Popen(
            ["dvc", "repro", "ingest"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment(),
        )  # fmt: skip
        said = ""
        while "another process is at it" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        Path("params.yaml").write_text(PARAMS.replace("corpus: mine", "corpus: mine, speaker: ana"))
    said += process.communicate()[0]
    assert process.returncode != 0
    assert "params.yaml was edited while ingest ran: ingest.speaker was 'speaker' and is 'ana'" in said
    run("dvc", "repro", "ingest")
    assert '"speaker": "ana"' in Path("data/manifest/00.jsonl").read_text()


@pytest.fixture
def other():
    """A process that is a run with lr: 0.5, in the current folder."""
    code = (
        "import sys; from sotaque import runs; from sotaque.settings import Settings; "
        "runs.start(Settings(lr=0.5)); print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [os.sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_files_of_runs_that_are_alive_stay_and_those_of_others_go(workplace, other):
    kept = runs.frozen_path(Settings(lr=0.5))
    runs.start(Settings(lr=0.5))
    runs.end()
    assert kept.exists()
    other.kill()
    other.wait()
    with runs.own(Settings(lr=0.25)):
        assert not kept.exists()
        assert runs.read_frozen(runs.frozen_path(Settings(lr=0.25))) == Settings(lr=0.25)
        assert len(list(Path(".stamps").glob("run-*"))) == 1


def test_a_run_inside_a_run_is_no_conflict(workplace, other, monkeypatch):
    """`sotaque compare --make` is a job of one run and starts others."""
    with pytest.raises(SettingsError, match=r"lr is 0.5 there and 0.25 here"):
        runs.start(Settings(lr=0.25))
    monkeypatch.setenv(runs.VARIABLE, runs.checksum_of(Settings(lr=0.5)))
    with runs.own(Settings(lr=0.25)):
        assert runs.describe_conflict(Settings(lr=0.5)) == ""


def test_single_stages_that_write_other_outputs_run_at_once(workplace, other):
    """Two models may be trained at the same time; the process beside is a run of all stages of micro."""
    with runs.own(Settings(model="orpheus-3b", lr=0.25), Path("models/orpheus-3b/lora")):
        pass
    with pytest.raises(SettingsError, match=r"lr is 0.5 there and 0.25 here"):
        runs.start(Settings(lr=0.25), Path("models/micro/lora"))
    other.kill()
    other.wait()
    code = (
        "import sys; from pathlib import Path; from sotaque import runs; "
        "from sotaque.settings import Settings; out = Path(sys.argv[3]) if sys.argv[3:] else None; "
        "runs.start(Settings(lr=float(sys.argv[1]), model=sys.argv[2]), out); print('ok')"
    )
    apart = {key: value for key, value in os.environ.items() if key != runs.VARIABLE}

    def begins(*words):
        command = [os.sys.executable, "-c", code, *words]
        return subprocess.run(command, capture_output=True, check=False, env=apart).stdout == b"ok\n"

    with runs.own(Settings(lr=0.5), Path("models/micro/lora")):
        assert begins("0.25", "csm-1b", "models/csm-1b/lora")
        assert not begins("0.25", "micro", "models/micro/lora")
        assert begins("0.5", "micro", "models/micro/lora")
        assert not begins("0.25", "micro")  # a run of all stages


def test_a_job_whose_run_is_over_stops_when_another_one_has_begun(workplace, other):
    gone = runs.frozen_path(Settings(lr=0.25))
    with pytest.raises(SettingsError, match=r"lr is 0.5 there and 0.25 here"):
        runs.check_current(gone, Settings(lr=0.25), Path("models/micro/lora"))
    runs.check_current(runs.frozen_path(Settings(lr=0.5)), Settings(lr=0.5), Path("models/micro/lora"))
    other.kill()
    other.wait()
    with pytest.raises(IntegrityError, match=r"parameters of this run are gone"):
        runs.check_current(gone, Settings(lr=0.25), Path("models/micro/lora"))


def test_edited_parameters_of_a_run_are_refused(workplace):
    with runs.own(Settings()):
        path = runs.frozen_path(Settings())
        path.write_text(path.read_text().replace('"lr": 0.001', '"lr": 0.002'))
        with pytest.raises(IntegrityError, match=r"params-\w+.yaml: somebody edited the parameters"):
            runs.read_frozen(path)


def test_a_fork_does_not_keep_a_run_alive(workplace):
    """A worker process that outlives its parent must not hold its lock."""
    code = (
        "import os, time; from sotaque import runs; from sotaque.settings import Settings; "
        "runs.start(Settings(lr=0.5)); child = os.fork(); child and print(child, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([os.sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        with runs.own(Settings(lr=0.25)):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
