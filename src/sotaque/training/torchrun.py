"""When torchrun started this command several times: who leads, and what the others wait for.

The first process takes the lock, makes the output and seals it; the others only take part in a training,
or leave when there is none. torch is imported late, for every command asks this module.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from sotaque.jobs import Job
from sotaque.settings import Settings

if TYPE_CHECKING:
    from torch.distributed import Store

WORD, BEGIN, OVER = "sotaque", "begin", "over"  # what the first says in torchrun's store, and how
LONG = timedelta(days=30)  # the first may wait for a lock


def started() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    return int(os.environ["RANK"]) if started() else 0


def size() -> int:
    return int(os.environ["WORLD_SIZE"])


def local_rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def store() -> Store:
    import torch.distributed as dist

    found, _, _ = next(dist.rendezvous("env://", timeout=LONG))
    return found


def begin() -> Store:
    """Tell the others to take part."""
    found = store()
    found.set(WORD, BEGIN)
    return found


@contextlib.contextmanager
def led() -> Iterator[bool]:
    """Whether this process leads; when it has, the others that are still waiting may leave."""
    try:
        yield rank() == 0
    finally:
        if started() and rank() == 0:
            store().compare_set(WORD, "", OVER)


def follow(job: Job, settings: Settings) -> None:
    """Wait for the first process, and take part in its training if there is one."""
    found = store()
    if found.get(WORD) == BEGIN.encode():
        importlib.import_module(job.stage.module).follow(settings, found, **job.reads)
