"""The fuzzer finds nothing in a few hundred inputs, and would say so if there were something."""

import os
import time
from pathlib import Path

import pytest

import fuzz

INPUTS = 800


@pytest.fixture
def only(monkeypatch, tmp_path):
    """Run one target of our own in the place of all; audio is left out."""

    def run(function, count=20):
        monkeypatch.setattr(fuzz, "TARGETS", {"planted": function})
        return fuzz.run("test", range(count))

    monkeypatch.setattr(fuzz, "SAVED", tmp_path / "saved")
    return run


def test_no_reader_ends_in_a_traceback():
    findings = fuzz.run("suite", range(INPUTS))
    assert sum(findings.inputs.values()) == INPUTS
    assert set(findings.inputs) == {*fuzz.TARGETS, "audio"}, "every target had its turn"
    assert not findings.found, "\n".join(finding.traceback for finding in findings.found.values())


def test_an_input_follows_from_its_seed_and_number(only):
    def inputs(seed):
        seen = []
        only(lambda draw: seen.append((draw.word(), draw.value(), draw.mutated(b"abcdef"))))
        return [repr(one) for one in seen]

    first = inputs("test")
    assert len(set(first)) > 10
    assert inputs("test") == first


def test_a_traceback_is_counted_once_for_its_place_and_saved_with_its_input(only):
    def fail(draw):
        draw.input = "the input \ud800"
        raise KeyError("planted")

    findings = only(fail)
    [finding] = findings.found.values()
    assert (finding.name, finding.count) == ("planted", findings.inputs["planted"])
    saved = fuzz.save("test", finding).read_text()
    assert f"--seed test --only {finding.number}" in saved
    assert "'the input \\ud800'" in saved
    assert "KeyError: 'planted'" in saved


def test_a_reader_that_waits_for_ever_is_a_finding(only, monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_S", 1)

    def wait(draw):
        os.mkfifo("fifo")
        Path("fifo").read_text()

    started = time.monotonic()
    [finding] = only(wait, count=1).found.values()
    assert "HangError" in finding.traceback
    assert time.monotonic() - started < 10


def test_the_command_says_what_it_did(capsys):
    assert fuzz.main(["--seed", "suite", "--only", "3"]) == 0
    assert capsys.readouterr().out.startswith("1 inputs: ")
