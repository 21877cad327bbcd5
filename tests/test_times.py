"""How long an output took: attempts that were broken off count, other outputs do not."""

import time

import pytest

from sotaque import files, jobs, times
from sotaque.settings import Settings

WANT = {"stage": "train", "params": {"lr": 0.1}}


@pytest.fixture
def job(workplace):
    return next(job for job in jobs.of(Settings()) if job.name == "train")


def attempt(job, want, seconds, broken=False):
    with times.kept(job, want):
        time.sleep(seconds)
        if broken:
            raise KeyboardInterrupt
    files.write_json(job.seal, {**want, "files": {}})


def test_an_attempt_that_was_broken_off_is_part_of_the_time(job):
    with pytest.raises(KeyboardInterrupt):
        attempt(job, WANT, 0.2, broken=True)
    assert times.seconds(job) is None
    attempt(job, WANT, 0.1)
    assert times.seconds(job) >= 0.3


def test_what_came_to_its_end_is_not_added_when_it_is_made_again(job):
    attempt(job, WANT, 1.0)
    attempt(job, WANT, 0.01)
    assert 0.01 <= times.seconds(job) < 1.0


def test_the_time_of_another_output_is_not_told(job):
    attempt(job, WANT, 0.01)
    files.write_json(job.seal, {**WANT, "params": {"lr": 0.2}, "files": {}})
    assert times.seconds(job) is None
