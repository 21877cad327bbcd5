"""Untrusted bytes are decoded in a process that can be killed, so that a hang or a bomb costs one clip.

One forked worker goes through all items and answers in their order. When it computes for too long, may
take no more memory, or dies, exactly the item that it was at becomes a ClipError, and a fresh worker goes
on with the next. A fork costs milliseconds, an answer some microseconds. The memory limit needs Linux.

Time is the processor's, so that a busy machine rejects no other clips than an idle one.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from sotaque.errors import ClipError

Item = TypeVar("Item")
Answer = tuple[dict[str, Any], bytes]
_PIPE_BYTES = 2**20
_PATIENCE = 10  # a worker that waits, for its turn or for a disk, is given so many times its max_s
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Limits:
    """What one item may cost: seconds of computing, and megabytes (2^20) beyond a fresh worker's memory."""

    max_s: float
    max_mb: int


def each(
    work: Callable[[Item], Answer], items: Sequence[Item], limits: Limits
) -> Iterator[Answer | ClipError]:
    """work(item) for every item, in order: values that JSON can hold and bytes, or why there are none.

    ClipErrors that `work` raises come back as they are. Others: decode-timeout, decode-memory, decode-crash.
    """
    done = 0
    while done < len(items):
        with _worker(work, items[done:], limits) as (process, answers):
            alive = True
            while alive and done < len(items):
                answer = _receive(process, answers, limits)
                alive = not isinstance(answer, _Dead)
                yield answer.error if isinstance(answer, _Dead) else answer
                done += 1


@dataclass(frozen=True)
class _Dead:
    """The worker is of no more use; error: what to say of the item that it was at."""

    error: ClipError


def _receive(process: BaseProcess, answers: Connection, limits: Limits) -> Answer | ClipError | _Dead:
    try:
        if not answers.poll(_PATIENCE * limits.max_s):
            return _Dead(_timeout(_PATIENCE * limits.max_s))
        head = json.loads(answers.recv_bytes())
        content = answers.recv_bytes()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGPROF:
            return _Dead(_timeout(limits.max_s))
        return _Dead(ClipError("decode-crash", f"the decoder {_ending(process.exitcode)}"))
    if "code" in head:
        return ClipError(head["code"], head["reason"], head["duration_s"])
    return head, content


def _timeout(limit_s: float) -> ClipError:
    return ClipError("decode-timeout", f"not decoded within {limit_s:g} s")


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


@contextlib.contextmanager
def _worker(
    work: Callable[[Item], Answer], items: Sequence[Item], limits: Limits
) -> Iterator[tuple[BaseProcess, Connection]]:
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the usual 64 kB give the same answers, with more waiting
            fcntl.fcntl(sending, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    arguments = work, items, limits, receiving, sending, os.getpid()
    process = fork.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    sending.close()
    try:
        yield process, receiving
    finally:
        process.kill()
        process.join()
        receiving.close()


def _serve(
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    limits: Limits,
    receiving: Connection,
    answers: Connection,
    parent: int,
) -> None:
    """In the worker: answer every item, then end; end at once when the parent does."""
    receiving.close()
    faulthandler.disable()  # a crash becomes a ClipError
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (signal.SIGTERM, signal.SIGPROF):
        signal.signal(name, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit_memory(limits.max_mb)
    if os.getppid() != parent:
        return
    with contextlib.suppress(BrokenPipeError):
        for item in items:
            signal.setitimer(signal.ITIMER_PROF, limits.max_s)  # SIGPROF then ends the process, even in C
            head, content = _answer(work, item, limits.max_mb)
            answers.send_bytes(json.dumps(head).encode())
            answers.send_bytes(content)


def _answer(work: Callable[[Item], Answer], item: Item, max_mb: int) -> Answer:
    try:
        return work(item)
    except ClipError as error:
        found = error
    except MemoryError:
        found = ClipError("decode-memory", f"decoding asks for more than {max_mb} MB")
    except Exception as error:  # whatever a decoder makes of bad bytes: one clip never stops a run
        found = ClipError("decode-crash", f"{type(error).__name__}: {error}")
    return {"code": found.code, "reason": found.reason, "duration_s": found.duration_s}, b""


def _limit_memory(max_mb: int) -> None:
    """No more private memory than there is now and max_mb (RLIMIT_DATA; /proc/self/statm, sixth number)."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = used + max_mb * 2**20
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
