"""Kills and full disks in ingest, normalize and tokenize: nothing half-written looks whole, and the same
command again ends with the bytes of an undisturbed run.
"""

import contextlib
import json
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

import commands
import tiny
from faults import EVENTS, LOG, NOT_PERMITTED, Faults
from sotaque import files, jobs, seal, settings
from sounds import save, voice

CLIPS = 5
PAGE_BYTES = 4096
OUTS = {"ingest": "manifest", "normalize": "wav", "tokenize": "tokens"}
each_stage = pytest.mark.parametrize("stage", OUTS)


class World:
    """A folder in which all three stages have run undisturbed, and what they left there."""

    def __init__(self, where: Path, faults: Faults):
        self.where, self.faults = where, faults
        self.whole: dict[str, dict[str, str]] = {}
        self.sizes: dict[str, list[int]] = {}
        self.events: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        for stage in OUTS:
            started = time.monotonic()
            assert self.run(stage) == 0, self.told()
            self.seconds[stage] = time.monotonic() - started
            self.events[stage] = json.loads((where / EVENTS).read_text())
            self.whole[stage] = self.sums(stage)
            self.sizes[stage] = [p.stat().st_size for p in files.walk(where / "data" / OUTS[stage])]

    def run(self, stage: str, **fault) -> int:
        return self.faults.run(commands.words(stage, "tiny"), **fault)

    def told(self) -> str:
        return (self.where / LOG).read_text()

    def sums(self, stage: str, below: str = "data") -> dict[str, str]:
        folder = self.where / below / OUTS[stage]
        found = files.walk(folder) if folder.exists() else []
        return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}

    def undo(self, stage: str) -> None:
        shutil.rmtree(self.where / "data" / OUTS[stage])
        shutil.rmtree(self.where / "scratch")

    def disturbed(self, stage: str, **fault) -> int:
        """Run a stage that is not done yet, with a fault; what it leaves may be little, but is whole."""
        self.undo(stage)
        status = self.run(stage, **fault)
        self.check_what_is_left(stage, self.sums(stage))
        return status

    def check_what_is_left(self, stage: str, left: dict[str, str]) -> None:
        whole = self.whole[stage]
        looks_whole = {name: value for name, value in left.items() if not name.endswith(".part")}
        assert looks_whole.items() <= whole.items()
        if any(name.endswith("seal.json") for name in left):
            assert looks_whole == whole

    def check_again(self, stage: str) -> None:
        assert self.run(stage) == 0, self.told()
        assert self.sums(stage) == self.whole[stage]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    where = tmp_path_factory.mktemp("world")
    corpus = commands.folder(where, model="tiny")
    for number in range(CLIPS):
        save(corpus / f"wavs/c{number}.wav", voice(0.5 + number / 10))
    (corpus / "metadata.csv").write_text("".join(f"c{n}|Frase número {n}.\n" for n in range(CLIPS)))
    with contextlib.chdir(where):
        Path("workflow/models/tiny.yaml").write_text(tiny.SPEC)
        tiny.base(Path("models/tiny/base"), tiny.SMALL)
        found = settings.read(Path("params.yaml"))
        fetch = next(job for job in jobs.of(found) if job.stage.word == "fetch")
        seal.close(fetch, seal.wanted(fetch, found))
    with Faults(where) as faults:
        yield World(where, faults)


@each_stage
def test_the_undisturbed_run_leaves_outputs_and_a_seal_and_no_part(world, stage):
    names = world.whole[stage].keys()
    assert any(name.endswith("seal.json") for name in names)
    assert len(names) >= 3
    assert not any(name.endswith(".part") for name in names)


@each_stage
@pytest.mark.parametrize("draw", range(3))
def test_a_kill_before_any_file_operation(world, stage, draw):
    """The first draw is the last operation of all, with which the seal is there."""
    at = random.Random(f"{stage}{draw}").randint(1, world.events[stage]) if draw else world.events[stage]
    assert world.disturbed(stage, at_event=at, with_signal=signal.SIGKILL) == -signal.SIGKILL
    world.check_again(stage)


@each_stage
@pytest.mark.parametrize("draw", range(2))
def test_a_kill_at_any_instant(world, stage, draw):
    moment = random.Random(f"{stage}{draw}").uniform(0, world.seconds[stage])
    assert world.disturbed(stage, kill_after_s=moment) in (-signal.SIGKILL, 0)
    world.check_again(stage)


@each_stage
def test_a_request_to_stop_leaves_no_half_written_file(world, stage):
    at = world.events[stage] * 2 // 3
    assert world.disturbed(stage, at_event=at, with_signal=signal.SIGTERM) == 128 + signal.SIGTERM
    assert not any(name.endswith(".part") for name in world.sums(stage))
    world.check_again(stage)


@each_stage
def test_files_that_may_not_grow(world, stage):
    assert world.disturbed(stage, file_bytes=max(world.sizes[stage]) - 1) == 1
    assert_one_message(world.told(), stage, "File too large")
    assert not any(name.endswith(".part") for name in world.sums(stage))
    world.check_again(stage)


@each_stage
def test_a_full_disk(world, stage):
    """There is room for 70 % of the output only; then there is enough, and the same command ends well."""
    world.undo(stage)
    for name in ("full", "freed"):
        shutil.rmtree(world.where / name, ignore_errors=True)
    needed = sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in world.sizes[stage])
    status = world.run(stage, room=int(0.7 * needed))
    told = world.told()
    world.check_again(stage)
    if status == NOT_PERMITTED:
        pytest.skip("nobody may mount a disk here; files that may not grow were tested")
    assert status == 0, told
    assert_one_message(told, stage, "No space left on device")
    world.check_what_is_left(stage, world.sums(stage, "full"))
    assert not any(name.endswith(".part") for name in world.sums(stage, "full"))
    assert world.sums(stage, "freed") == world.whole[stage]


def assert_one_message(told: str, stage: str, words: str) -> None:
    assert re.search(
        rf"^sotaque {stage}: \S+: .*({words}).*; .* then run the same command again$", told, re.M
    )
    assert "Traceback" not in told
