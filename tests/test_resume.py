"""Killed or stopped at any point, `sotaque train` typed again ends with the bytes of an undisturbed run.

Every run is a process of its own that really receives the signal. One server has imported everything and
forks them, since importing torch takes far longer than a tiny training.
"""

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seals
import tiny
from sotaque import files, jobs, manifest, seal
from sotaque.training import checkpoint, lora

COMMAND = ["train", "--params", "params.yaml"]
COMMAND += [
    word for flag, path in {**tiny.READS, "out": tiny.LORA}.items() for word in (f"--{flag}", str(path))
]

SERVER = """
import importlib, json, os, resource, signal, sys, traceback
import sotaque.backends.orpheus, sotaque.training.train
from sotaque.__main__ import main

def plant(place, call, name):
    "Send this process a signal when the function at `place` is called for the `call`th time."
    module, _, attribute = place.partition(":")
    *path, last = attribute.split(".")
    holder = importlib.import_module(module)
    for part in path:
        holder = getattr(holder, part)
    whole, calls = getattr(holder, last), [0]
    def signalled(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), getattr(signal, name))
        return whole(*args, **kwargs)
    setattr(holder, last, signalled)

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        status = 70
        try:
            os.chdir(order["folder"])
            told = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(told, 1), os.dup2(told, 2)
            if order["plant"]:
                plant(*order["plant"])
            if order["file_bytes"]:
                resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (order["file_bytes"],))
            status = main(order["words"])
        except SystemExit as leaving:
            status = leaving.code
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Runs commands in processes of their own; `told` is what the last one said."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told = ""

    def start(self, plant=None, file_bytes=0) -> int:
        order = {"folder": str(Path.cwd()), "words": COMMAND, "plant": plant, "file_bytes": file_bytes}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """The exit status; of a killed process, minus its signal."""
        status = int(self.process.stdout.readline())
        self.told = Path("told.txt").read_text()
        return status

    def run(self, plant=None, file_bytes=0) -> int:
        self.start(plant, file_bytes)
        return self.wait()


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.process.stdin.close()
    runner.process.wait()


def prepare(folder, epochs=2, train=12, settings=None):
    """A world that `sotaque train` accepts: params.yaml, and seals of everything upstream."""
    before = Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    tiny.world(train)
    settings = settings or tiny.settings(epochs)
    files.write_json(Path("params.yaml"), dataclasses.asdict(settings))
    seals.write(settings, next(job for job in jobs.of(settings) if job.stage.word == "train").seals)
    os.chdir(before)


@pytest.fixture(scope="module")
def finished(runner, tmp_path_factory):
    """A world whose training was never disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "world"
    prepare(folder)
    before = Path.cwd()
    os.chdir(folder)
    assert runner.run() == 0, runner.told
    os.chdir(before)
    return folder


@pytest.fixture
def world(finished, tmp_path, monkeypatch):
    """The same world, with nothing trained, as the current directory."""
    shutil.copytree(finished, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    for path in (tiny.LORA, Path("scratch")):
        shutil.rmtree(path)
    return tmp_path / "world"


def assert_as_undisturbed(finished):
    """The losses of every step, all adapters, and the seal."""
    assert tiny.tree(tiny.LORA) == tiny.tree(finished / tiny.LORA)
    assert "seal.json" in tiny.tree(tiny.LORA)
    assert not list(Path("scratch/train").iterdir())


# Train looks for signals twice while it is made ready, then before each of the two losses of a step or a
# validation, and when a step with all that is due is done. Two steps and a validation make eight looks, after
# those two and the two while the base is validated.
LOOK = "sotaque.training.stopping:check"
LEARNT = {1: 7, 2: 10, 3: 15, 4: 18, 5: 23, 6: 26}  # step: the first look behind its update
SAVED = {2: 12, 4: 20, 6: 28}
RANDOM = random.Random(20)
POINTS = [RANDOM.randrange(first, first + 7) for first in (7, 14, 21)]


def last(step_of, point):
    return max((step for step, first in step_of.items() if first <= point), default=0)


def test_the_base_is_validated_and_stopped_before_any_step(runner, world, finished):
    assert runner.run([LOOK, 3, "SIGTERM"]) == 75
    assert "stopped by SIGTERM after step 0 of 6" in runner.told
    assert runner.run() == 0
    assert_as_undisturbed(finished)


@pytest.mark.parametrize("place", [
    "sotaque.times:kept",                        # the stage is not even imported
    "sotaque.training.inputs:samples", "sotaque.training.trainer:Trainer.listen_with",
])  # fmt: skip
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_asked_to_stop_before_the_loop_it_stops_there(runner, world, finished, place, name):
    assert runner.run([place, 1, name]) == 75, runner.told
    assert f"train: stopped by {name} before the first step; the same command begins it" in runner.told
    assert "Traceback" not in runner.told
    assert runner.run() == 0
    assert_as_undisturbed(finished)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.safetensors"])
def test_files_that_may_not_grow_are_one_message_and_no_half_checkpoint(runner, world, finished, name):
    """The limit is a byte less than the file of the first checkpoint takes; without it, the same bytes."""
    assert runner.run([LOOK, SAVED[2] + 1, "SIGKILL"]) == -signal.SIGKILL
    [whole] = Path("scratch/train").rglob(name)
    size = whole.stat().st_size
    shutil.rmtree("scratch")
    assert runner.run(file_bytes=size - 1) == 1
    assert re.search(
        rf"^sotaque train: \S+/{name}: File too large; .* run the same command again$", runner.told, re.M
    )
    assert "Traceback" not in runner.told
    assert not list(Path("scratch/train").rglob("step-*")), "nothing half-written is left"
    assert not tiny.LORA.exists()
    assert runner.run() == 0
    assert_as_undisturbed(finished)


@pytest.mark.parametrize("point", POINTS)
def test_asked_to_stop_it_goes_on_from_its_last_step(runner, world, finished, point):
    """A step that is not ended is left out; one that is stays, measured or not."""
    step = last(LEARNT, point)
    assert runner.run([LOOK, point, "SIGTERM"]) == 75
    assert f"train: stopped by SIGTERM after step {step} of 6; the same command goes on" in runner.told
    assert "Traceback" not in runner.told
    assert not tiny.LORA.exists()
    assert runner.run() == 0
    assert (f"going on from step {step}" in runner.told) == (step > 0)
    assert_as_undisturbed(finished)


@pytest.mark.parametrize("point", POINTS)
def test_killed_it_goes_on_from_its_last_checkpoint(runner, world, finished, point):
    saved = last(SAVED, point)
    assert runner.run([LOOK, point, "SIGKILL"]) == -signal.SIGKILL
    assert not tiny.LORA.exists()
    assert runner.run() == 0
    assert (f"going on from step {saved}" in runner.told) == (saved > 0)
    assert_as_undisturbed(finished)


@pytest.mark.parametrize(("place", "call", "step"), [
    ("sotaque.files:save_tensors", 4, 2),              # the adapter is there, the optimiser is not
    ("sotaque.training.checkpoint:asdict", 2, 2),      # all but state.json is there
    ("sotaque.training.checkpoint:Scratch._tidy", 2, 4),  # whole, but the older ones are not put away
])  # fmt: skip
def test_killed_while_saving_it_goes_on_from_a_whole_checkpoint(runner, world, finished, place, call, step):
    """In the second checkpoint, of step 4."""
    assert runner.run([place, call, "SIGKILL"]) == -signal.SIGKILL
    assert runner.run() == 0
    assert f"going on from step {step}" in runner.told
    assert_as_undisturbed(finished)


@pytest.mark.parametrize("place", ["sotaque.training.train:_publish", "sotaque.seal:close"])
def test_killed_between_the_last_step_and_the_seal_nothing_is_trained_again(runner, world, finished, place):
    assert runner.run([place, 1, "SIGKILL"]) == -signal.SIGKILL
    assert not (tiny.LORA / "seal.json").exists()
    assert runner.run([LOOK, 3, "SIGKILL"]) == 0, "no step is taken and nothing measured"
    assert "going on from step 6" in runner.told
    assert_as_undisturbed(finished)


def test_killed_behind_the_seal_it_is_done(runner, world, finished):
    assert runner.run(["sotaque.training.train:sealed", 1, "SIGKILL"]) == -signal.SIGKILL
    assert tiny.tree(tiny.LORA) == tiny.tree(finished / tiny.LORA)
    assert runner.run() == 0
    assert "train: up to date" in runner.told


def test_signals_from_outside_again_and_again(runner, tmp_path, monkeypatch):
    """As a cluster does: SIGUSR1, SIGTERM, Ctrl-C, each some steps later; 72 steps in all."""
    prepare(tmp_path / "world", epochs=24)
    monkeypatch.chdir(tmp_path / "world")
    steps = [0]
    for name in ("SIGUSR1", "SIGTERM", "SIGINT"):
        child = runner.start()
        wait_for(lambda: newest() >= steps[-1] + 4)
        asked = time.monotonic()
        os.kill(child, getattr(signal, name))
        assert runner.wait() == 75, runner.told
        assert time.monotonic() - asked < 30
        assert f"stopped by {name} after step {newest()} of 72" in runner.told
        steps.append(newest())
    assert runner.run() == 0
    assert f"going on from step {steps[-1]}" in runner.told
    found = tiny.tree(tiny.LORA)
    shutil.rmtree(tiny.LORA)
    shutil.rmtree("scratch")
    assert runner.run() == 0
    assert tiny.tree(tiny.LORA) == found


def newest():
    """The newest step with a checkpoint; 0 without any."""
    found = [path.parent.name for path in Path("scratch/train").glob("*/step-*/state.json")]
    return max((int(name.removeprefix("step-")) for name in found), default=0)


def wait_for(happened):
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def flip(path):
    """One bit, in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FAULTS = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.fixture
def settings(world):
    """The world's settings, for runs in this process."""
    return tiny.settings()


def interrupted(settings, monkeypatch, step):
    """Run until the checkpoint of a step is saved, then end as a second Ctrl-C would."""
    save = checkpoint.Scratch.save

    def stopping(self, network, optimizer, progress):
        save(self, network, optimizer, progress)
        if progress.step == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Scratch, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            tiny.train(settings)
    return next(Path("scratch/train").iterdir())


def losses_and_adapters(folder):
    return {name: found for name, found in tiny.tree(folder).items() if name != "seal.json"}


@pytest.mark.parametrize(("name", "fault"), [
    ("optimizer.safetensors", "cut"), ("optimizer.safetensors", "bit"), ("state.json", "bit"),
    ("result/adapter_model.safetensors", "bit"), ("result/adapter_model.safetensors", "empty"),
    ("state.json", "empty"), ("state.json", "gone"),
])  # fmt: skip
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    settings, finished, monkeypatch, caplog, name, fault
):
    scratch = interrupted(settings, monkeypatch, 4)
    FAULTS[fault](scratch / "step-000004" / name)
    caplog.set_level("INFO")
    tiny.train(settings)
    assert f"step-000004/{name} is damaged or missing; trying the one before" in caplog.text
    assert "going on from step 2" in caplog.text
    assert losses_and_adapters(tiny.LORA) == losses_and_adapters(finished / tiny.LORA)


def test_without_any_whole_checkpoint_it_begins_anew(settings, finished, monkeypatch, caplog):
    scratch = interrupted(settings, monkeypatch, 4)
    for step in (2, 4):
        flip(scratch / lora.step_name(step) / "state.json")
    tiny.train(settings)
    assert "going on" not in caplog.text
    assert losses_and_adapters(tiny.LORA) == losses_and_adapters(finished / tiny.LORA)


def test_old_checkpoints_keep_the_adapter_only(settings, monkeypatch):
    often = dataclasses.replace(settings.train, save_every_steps=1)
    scratch = interrupted(dataclasses.replace(settings, train=often), monkeypatch, 4)
    kept = sorted(path.parent.name for path in scratch.rglob("optimizer.safetensors"))
    assert kept == ["step-000003", "step-000004"]
    assert lora.steps(scratch) == [1, 2, 3, 4]


def other_rate(settings):
    return dataclasses.replace(settings, lr=5e-3)


def other_data(settings):
    path = tiny.READS["splits"] / "train.jsonl"
    manifest.write(path, manifest.read(path)[1:])
    return settings


def other_base(settings):
    files.write_json(tiny.READS["base"] / "seal.json", {"made": "of other weights"})
    return settings


@pytest.mark.parametrize(("change", "told"), [
    (other_rate, "params.yaml lr was 0.01, is 0.005; delete"),
    (other_data, "files data/splits/train.jsonl has changed; delete"),
    (other_base, "files models/tiny/base/seal.json has changed; delete"),
])  # fmt: skip
def test_a_checkpoint_of_other_settings_or_data_is_never_resumed(settings, monkeypatch, caplog, change, told):
    """It begins anew, as the seals demand, names the difference and keeps the other run."""
    scratch = interrupted(settings, monkeypatch, 4)
    caplog.set_level("INFO")
    tiny.train(change(settings))
    assert f"{scratch} holds another run at step 4, which is not gone on with: {told}" in caplog.text
    assert "going on from" not in caplog.text
    assert [path.name for path in Path("scratch/train").iterdir()] == [scratch.name]


def test_other_code_is_another_run(settings, monkeypatch, caplog):
    scratch = interrupted(settings, monkeypatch, 4)
    monkeypatch.setattr(seal, "code_sha256", lambda code: "0" * 64)
    caplog.set_level("INFO")
    tiny.train(settings)
    assert (
        f"{scratch} holds another run at step 4, which is not gone on with: code has changed" in caplog.text
    )
