"""Two real processes learn what one does, and go on exactly when they were stopped or one of them died."""

import dataclasses
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import tiny
from sotaque.errors import ModelError, SettingsError, StoppedError
from sotaque.training import lora, processes, train
from sotaque.training.group import Group
from test_resume import COMMAND, prepare
from test_train import losses, with_train

multiprocessing.set_forkserver_preload(["sotaque.training.train", "sotaque.backends.orpheus", "transformers"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A world and its training by one process; 13 clips, so that the last step of an epoch has one only."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("alone")
    os.chdir(folder)
    settings = tiny.world(train=13)
    settings = dataclasses.replace(settings, lora=dataclasses.replace(settings.lora, dropout=0.0))
    tiny.train(settings)
    tiny.train(with_train(settings, processes=2), Path("two"))
    os.chdir(before)
    return folder, settings


@pytest.fixture
def world(alone, tmp_path, monkeypatch):
    """The same world with nothing trained, and settings for two processes."""
    folder, settings = alone
    shutil.copytree(folder, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    shutil.rmtree(tiny.LORA)
    shutil.rmtree("scratch")
    return with_train(settings, processes=2)


def test_two_processes_have_the_curve_of_one(alone):
    folder, _ = alone
    one, two = losses(folder / tiny.LORA), losses(folder / "two")
    assert len(one) == len(two) == 9
    for row, other in zip(one, two, strict=True):
        assert (row["step"], row["lr"], row["tokens"]) == (other["step"], other["lr"], other["tokens"])
        for name in ("train_nats", "val_nats"):
            assert other[name] == (row[name] and pytest.approx(row[name], abs=1e-4)), row["step"]
    assert lora.steps(folder / tiny.LORA) == lora.steps(folder / "two")


@pytest.fixture(scope="module")
def whole(alone, tmp_path_factory):
    """The same world, where the whole network learns: in one process, in two, and divided among two."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("whole") / "world"
    shutil.copytree(alone[0], folder, ignore=shutil.ignore_patterns("two"))
    os.chdir(folder)
    settings = dataclasses.replace(with_train(alone[1], method="full"), lr=1e-3)
    tiny.train(settings, Path("one"))
    divided = with_train(settings, processes=2, shard=True)
    tiny.train(divided, Path("divided"))
    tiny.train(with_train(divided, shard=False), Path("two"))
    os.chdir(before)
    return folder, divided


@pytest.mark.parametrize("many", ["two", "divided"])
def test_a_whole_network_has_the_curve_of_one_process_and_the_same_files(whole, many):
    folder, _ = whole
    one, others = losses(folder / "one"), losses(folder / many)
    assert [row["train_nats"] for row in others[1:]] == pytest.approx(
        [row["train_nats"] for row in one[1:]], abs=1e-4
    )
    assert one[-1]["val_nats"] == pytest.approx(others[-1]["val_nats"], abs=1e-4)
    assert tiny.tree(folder / "one").keys() == tiny.tree(folder / many).keys()
    found = [load_file(folder / name / "step-000008/model.safetensors") for name in ("one", many)]
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-3) for key in found[0])


def test_a_divided_network_goes_on_exactly(whole, tmp_path, monkeypatch, caplog):
    shutil.copytree(whole[0], tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    with monkeypatch.context() as patch:
        strike(patch, 5, os.getpid, signal.SIGTERM)
        with pytest.raises(StoppedError, match="after step 4 of 8"):
            tiny.train(whole[1])
    caplog.set_level("INFO")
    tiny.train(whole[1], Path("again"))
    assert "going on from step 4" in caplog.text
    assert tiny.tree(Path("again")) == tiny.tree(Path("divided"))


@pytest.mark.parametrize("change", [{"method": "lora"}, {"processes": 1}])
def test_only_a_whole_network_of_several_processes_can_be_divided(world, change):
    settings = with_train(world, **{"method": "full", "processes": 2, "shard": True, **change})
    with pytest.raises(SettingsError, match=r"shard is true, which is for train\.method: full"):
        tiny.train(settings)


@pytest.mark.parametrize("struck", ["first", "other"])
def test_a_signal_to_either_stops_both_and_they_go_on_exactly(world, alone, monkeypatch, caplog, struck):
    """The other one notices it in this step or, if the signal is slow, in the next."""
    with monkeypatch.context() as patch:
        strike(patch, 3, os.getpid if struck == "first" else other, signal.SIGTERM)
        with pytest.raises(StoppedError) as stopped:
            tiny.train(world)
    step = int(re.search(r"stopped by SIGTERM after step (\d) of 8", str(stopped.value))[1])
    assert step in ((2,) if struck == "first" else (2, 3))
    assert not multiprocessing.active_children()
    assert not tiny.LORA.exists()
    caplog.set_level("INFO")
    tiny.train(world)
    assert f"going on from step {step}" in caplog.text
    assert tiny.tree(tiny.LORA) == tiny.tree(alone[0] / "two")


def test_another_process_that_dies_is_named_and_the_run_goes_on_from_its_checkpoint(
    world, alone, monkeypatch, caplog
):
    with monkeypatch.context() as patch:
        strike(patch, 5, other, signal.SIGKILL)
        with pytest.raises(ModelError, match="process 1 of this training ended"):
            tiny.train(world)
    assert not multiprocessing.active_children()
    caplog.set_level("INFO")
    tiny.train(world)
    assert "going on from step 4" in caplog.text
    assert tiny.tree(tiny.LORA) == tiny.tree(alone[0] / "two")


def test_a_process_that_says_nothing_is_told_from_a_fault_of_our_own():
    """What gloo and NCCL raise when their time is over, in torch's words and classes."""
    silent = RuntimeError("[unbound_buffer.cc:78] gloo: Timed out waiting 600000ms for recv operation\nmore")
    for error in (silent, dist.DistBackendError("NCCL communicator was aborted")):
        found = processes._blame([], error)
        assert isinstance(found, ModelError)
        assert "said nothing for 10 min: " + str(error).splitlines()[0] in str(found)
        assert "goes on from the last checkpoint" in str(found)
    fault = RuntimeError("a product of other sizes")
    assert processes._blame([], fault) is fault


def other():
    [process] = multiprocessing.active_children()
    return process.pid


def strike(patch, number, of, name):
    """Before the first process takes step `number`, a process gets a signal."""
    take_step = train.take_step

    def struck(trainer, batches, step, rate):
        if step == number:
            os.kill(of(), name)
        return take_step(trainer, batches, step, rate)

    patch.setattr(train, "take_step", struck)


def test_torchrun_starts_the_same_training(alone, tmp_path, monkeypatch):
    """As a person types it; the first process seals, and nobody else writes."""
    _, settings = alone
    prepare(tmp_path / "world", train=13, settings=with_train(settings, processes=2))
    monkeypatch.chdir(tmp_path / "world")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    done = subprocess.run([*command, "sotaque", *COMMAND], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made = tiny.tree(tiny.LORA)
    assert made.pop("seal.json")
    assert made == tiny.tree(alone[0] / "two")
    assert done.stderr.count("needs about") == 1


def test_another_number_than_torchrun_s_is_refused(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(SettingsError, match="processes is 2, but torchrun started 4; make them equal"),
        processes.together(2, train.take_part),
    ):
        pass


LENGTHS = np.array([5, 1, 9, 2, 7, 3, 8])
STEPS = [[[0, 1], [2, 3]], [[4]], [[0, 1, 2], [3, 4, 5], [6]]]


@pytest.mark.parametrize("batches", STEPS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_clip_of_a_step_counts_once(batches, size):
    """However many processes there are; and all of them have as many parts."""
    batches = [np.array(batch) for batch in batches]
    shares = [Group(rank, size).shares(batches, LENGTHS, 2) for rank in range(size)]
    counted = [int(clip) for mine in shares for share in mine if share.counts for clip in share.clips]
    assert sorted(counted) == sorted(int(clip) for batch in batches for clip in batch)
    assert len({len(mine) for mine in shares}) == 1
    assert all(len(share.clips) for mine in shares for share in mine)


def test_the_processes_have_about_as_much_to_read():
    shares = [Group(rank, 2).shares([np.arange(7)], LENGTHS, 8) for rank in range(2)]
    [first], [second] = ([int(LENGTHS[share.clips].sum()) for share in mine] for mine in shares)
    assert abs(first - second) <= LENGTHS.max()


@pytest.mark.parametrize(("size", "count"), [(2, 1), (2, 5), (3, 4)])
def test_every_batch_of_a_validation_counts_once(size, count):
    batches = [np.array([i]) for i in range(count)]
    dealt = [Group(rank, size).deal(batches) for rank in range(size)]
    counted = [int(share.clips[0]) for mine in dealt for share in mine if share.counts]
    assert sorted(counted) == list(range(count))
    assert len({len(mine) for mine in dealt}) == 1
