"""sandbox: a hang, a bomb or a crash costs exactly the item at which it happened, and leaves no process."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sotaque import sandbox
from sotaque.errors import ClipError, InputError
from sotaque.sandbox import Limits

LIMITS = Limits(max_s=20.0, max_mb=200)


def work(item):
    """What untrusted bytes may make a decoder do, by name."""
    match item:
        case "hang":
            while True:
                pass
        case "wait":
            signal.pause()
        case "bomb":
            return {}, bytes(2**30)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "bad":
            raise ClipError("truncated", "it is cut")
        case "surprise":
            raise ZeroDivisionError("division by zero")
    return {"item": item, "pid": os.getpid()}, bytes(range(256)) * item


def told(items, limits=LIMITS):
    """Code for each item that failed, its own value for each that did not."""
    answers = list(sandbox.each(work, items, limits))
    return [a.code if isinstance(a, ClipError) else a[0]["item"] for a in answers]


def test_answers_come_in_order_from_one_worker():
    sizes = [0, 1, 9_000, 5, 300]
    answers = list(sandbox.each(work, sizes, LIMITS))
    assert [head["item"] for head, _ in answers] == sizes
    assert len({head["pid"] for head, _ in answers} - {os.getpid()}) == 1
    assert [content for _, content in answers] == [bytes(range(256)) * size for size in sizes]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("bomb", "decode-memory"), ("segfault", "decode-crash"), ("abort", "decode-crash"),
     ("exit", "decode-crash"), ("surprise", "decode-crash"), ("bad", "truncated")],
)  # fmt: skip
def test_a_fault_costs_its_own_item_only(fault, code):
    assert told([1, 2, fault, 4, fault, fault, 7, fault]) == [1, 2, code, 4, code, code, 7, code]


@pytest.mark.parametrize("fault", ["hang", "wait"])
def test_what_never_ends_is_ended(fault):
    assert told([1, fault, 3], Limits(max_s=0.1, max_mb=200)) == [1, "decode-timeout", 3]


def test_a_hang_is_told_by_what_it_computes():
    """A tenth of a second of computing passes before it ends, not of waiting."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert told(["hang"], Limits(max_s=0.1, max_mb=200)) == ["decode-timeout"]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before > 0.09


def test_a_slow_reader_of_the_answers_is_no_hang_of_the_worker():
    for answer in sandbox.each(work, [1, 2, 3], Limits(max_s=0.05, max_mb=200)):
        assert not isinstance(answer, ClipError)
        time.sleep(0.6)


def test_the_reasons_say_what_happened():
    limits = Limits(max_s=20.0, max_mb=200)
    reasons = [e.reason for e in sandbox.each(work, ["bomb", "segfault", "exit", "surprise"], limits)]
    assert reasons == [
        "decoding asks for more than 200 MB",
        "the decoder was killed by SIGSEGV",
        "the decoder ended with status 3",
        "ZeroDivisionError: division by zero",
    ]


def test_the_limit_is_on_what_an_item_adds_and_does_not_add_up():
    """Each needs 120 of 200 MB; a process that kept them all would need 360."""

    def fill(item):
        return {"size": len(bytes(120 * 2**20))}, b""

    assert [head["size"] for head, _ in sandbox.each(fill, range(3), LIMITS)] == [120 * 2**20] * 3


def children():
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in listed.split()]


def test_no_worker_outlives_its_use():
    before = children()
    assert told([1, 2]) == [1, 2]
    answers = sandbox.each(work, [1, "hang"], LIMITS)
    next(answers)
    assert len(children()) == len(before) + 1
    answers.close()
    assert children() == before


def test_an_error_of_the_reader_ends_the_worker_too():
    before = children()

    def read():
        for _ in sandbox.each(work, [1, "hang"], LIMITS):
            raise InputError("disk full")

    with pytest.raises(InputError):
        read()
    assert children() == before


ORPHAN = """
import os, sys, time
from sotaque import sandbox
def work(item):
    print(os.getpid(), flush=True)
    while True:
        pass
next(sandbox.each(work, [1], sandbox.Limits(60, 100)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot tie a process to its parent")
def test_a_worker_dies_with_its_parent_even_when_it_hangs():
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(worker)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
