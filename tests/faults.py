"""Commands with a fault in them: a process that has loaded the stages forks off one command after another.

Loading torch takes seconds, a fork milliseconds. `Faults` is the door; the rest runs in the other process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOG, EVENTS = "told.log", "events.json"
NOT_PERMITTED = 77
_FILE_EVENTS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "shutil.rmtree",
)
_CLONE_NEWUSER, _CLONE_NEWNS = 0x10000000, 0x00020000  # linux/sched.h


class Faults(contextlib.AbstractContextManager):
    """Runs commands in a folder; the fault is one of kill_after_s, signal with at_event, file_bytes, room."""

    def __init__(self, where: Path):
        self.where = where
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=where
        )
        self._process.stdout.readline()  # everything is loaded

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def run(self, words: list[str], **fault: Any) -> int:
        """The exit status, negative for a signal; what the command said is in LOG."""
        print(json.dumps({"words": words, **fault}), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In this process, no file may grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def serve() -> None:
    """Fork off a command for each line of stdin, and print its exit status."""
    import torch  # noqa: F401

    from sotaque import audio
    from sotaque.backends import orpheus  # noqa: F401
    from sotaque.data import ingest, normalize, tokenize  # noqa: F401

    audio.load_libraries()
    print("loaded", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(**job)
        if "kill_after_s" in job:
            time.sleep(job["kill_after_s"])
            os.kill(pid, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(
    words: list[str], at_event: int = 0, with_signal: int = 0, file_bytes: int = 0, room: int = 0, **_: Any
) -> None:
    """In the fork: the command with its fault."""
    from sotaque import __main__ as cli

    log = os.open(LOG, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    events = _count_events(at_event, with_signal)
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if room:
        os._exit(_on_a_small_disk(words, room))
    try:
        status = cli.main(words)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 99
    if not file_bytes:
        Path(EVENTS).write_text(json.dumps(events["seen"]))
    os._exit(status)


def _count_events(at_event: int, with_signal: int) -> dict[str, int]:
    """Count what the command does to files; send it the signal before it does the at_event-th."""
    events = {"seen": 0}
    command = os.getpid()

    def hook(name: str, arguments: tuple) -> None:
        inside = name in _FILE_EVENTS and isinstance(arguments[0], str) and not os.path.isabs(arguments[0])
        if inside and os.getpid() == command:
            events["seen"] += 1
            if events["seen"] == at_event:
                os.kill(command, with_signal)

    sys.addaudithook(hook)
    return events


def _on_a_small_disk(words: list[str], room: int) -> int:
    """The command in a copy of the folder, on a disk where `room` bytes are free; then again, with enough.

    The copy is a tmpfs in a name space of our own. What it held comes back as full/ and freed/.
    """
    from sotaque import __main__ as cli

    where = Path.cwd()
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        return NOT_PERMITTED
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    Path("disk").mkdir(exist_ok=True)
    if libc.mount(b"none", b"disk", b"tmpfs", 0, b"size=32m") != 0:
        return NOT_PERMITTED
    for name in ("data", "models", "workflow", "params.yaml"):
        copy = shutil.copytree if Path(name).is_dir() else shutil.copyfile
        copy(name, Path("disk") / name)
    os.chdir("disk")
    free = os.statvfs(".").f_bavail * os.statvfs(".").f_frsize
    Path("filler").write_bytes(bytes(free - room))
    statuses = []
    for name in ("full", "freed"):
        statuses.append(cli.main(words))
        shutil.copytree("data", where / name)
        Path("filler").unlink(missing_ok=True)
    return 0 if statuses == [1, 0] else 99


if __name__ == "__main__":
    serve()
