"""Kill -9 in select, merge, synthesize, evaluate and report, and in `dvc repro`: the same command again ends
with the bytes of an undisturbed run, and what a kill leaves under a final name is whole.

The stages before them: test_faults.py; train: test_resume.py.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import compare_tiny
from conftest import ROOT
from faults import EVENTS, LOG, Faults
from sotaque import __main__ as command_line
from sotaque import files, jobs, settings, yaml_file

MODEL = "orpheus"
JOBS = ("select", "merge", "synthesize-tuned", "evaluate-tuned-wer", "evaluate-tuned-mos", "report")
each_job = pytest.mark.parametrize("name", JOBS)


class Tree:
    """A folder in which the whole chain has run undisturbed, and the bytes of each job's outputs."""

    def __init__(self, where: Path, faults: Faults):
        self.where, self.faults = where, faults
        with contextlib.chdir(where):
            found = settings.read(Path("params.yaml"))
            self.jobs = {job.name: job for job in jobs.of(found) if job.name in JOBS}
        self.whole = {name: self.sums(name) for name in JOBS}

    def command(self, name: str) -> list[str]:
        job = self.jobs[name]
        paths = {**job.reads, "out": job.out}
        flags = [word for flag, path in paths.items() for word in (f"--{flag}", str(path))]
        fan = [word for flag, value in job.fan.items() for word in (f"--{flag}", value)]
        return [job.stage.word, "--params", "params.yaml", *fan, *flags]

    def sums(self, name: str) -> dict[str, str]:
        """The checksum of each file of the output, its seal included."""
        job = self.jobs[name]
        paths = [job.seal]
        for out in job.outs:
            path = self.where / out
            paths += [p.relative_to(self.where) for p in files.walk(path)] if path.is_dir() else [out]
        return {
            path.as_posix(): files.sha256(self.where / path)
            for path in paths
            if (self.where / path).exists() and path.name != ".snakemake_timestamp"
        }

    def undo(self, name: str) -> None:
        for path in self.whole[name]:
            (self.where / path).unlink(missing_ok=True)
        shutil.rmtree(self.where / "scratch/seals", ignore_errors=True)

    def disturb(self, name: str, **fault) -> int:
        """Run a job that is not done yet, with a fault; what it leaves under a final name is whole."""
        self.undo(name)
        status = self.faults.run(self.command(name), **fault)
        left = {path: value for path, value in self.sums(name).items() if not path.endswith(".part")}
        assert left.items() <= self.whole[name].items()
        if self.jobs[name].seal.as_posix() in left:
            assert left == self.whole[name]
        return status

    def check_again(self, name: str) -> None:
        status = self.faults.run(self.command(name))
        assert status == 0, (self.where / LOG).read_text()
        assert self.sums(name) == self.whole[name]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    where = tmp_path_factory.mktemp("kills")
    with contextlib.chdir(where):
        compare_tiny.prepare(train=4, test=2, clips=1)
        values = yaml_file.read(Path("params.yaml"))
        Path("params.yaml").write_text(json.dumps(values | {"model": MODEL}))
        found = settings.read(Path("params.yaml"))
        for job in jobs.of(found):
            if job.stage.word != "survey":
                command_line.run(job, found)
    with Faults(where) as faults:
        yield Tree(where, faults)


@each_job
def test_three_kills(tree, name):
    """Before a file operation of the first half, before the last one that was counted, and at any instant.

    A run may take a few operations less than the one before it, whose compiled code it finds.
    """
    draw = random.Random(name)
    tree.undo(name)
    started = time.monotonic()
    tree.check_again(name)
    seconds, events = time.monotonic() - started, json.loads((tree.where / EVENTS).read_text())
    assert tree.disturb(name, at_event=draw.randint(1, events // 2), with_signal=signal.SIGKILL) < 0
    tree.check_again(name)
    assert tree.disturb(name, at_event=events, with_signal=signal.SIGKILL) in (-signal.SIGKILL, 0)
    tree.check_again(name)
    assert tree.disturb(name, kill_after_s=draw.uniform(0, seconds)) in (-signal.SIGKILL, 0)
    tree.check_again(name)


@pytest.mark.parametrize("number", range(2))
def test_a_killed_dvc_repro(tree, number):
    """DVC and its command are killed at a random instant; the same `dvc repro` makes the same bytes."""
    environment = compare_tiny.environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tree.where)
    dvc_yaml = (tree.where / "dvc.yaml").read_text().replace('["00", "01", "02", "03"]', '["00"]')
    (tree.where / "dvc.yaml").write_text(dvc_yaml)
    if not (tree.where / ".git").exists():
        subprocess.run(["git", "init", "-q"], cwd=tree.where, check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tree.where, check=True)
        (tree.where / "src").symlink_to(ROOT / "src")
    name = "evaluate-tuned-wer"
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "evaluate-tuned@tuned-merged-wer"]
    tree.undo(name)
    dvc = subprocess.Popen(command, cwd=tree.where, env=environment, start_new_session=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    time.sleep(random.Random(number).uniform(1, 6))
    os.killpg(dvc.pid, signal.SIGKILL)
    dvc.communicate()
    done = subprocess.run(command, cwd=tree.where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree.sums(name) == tree.whole[name]
