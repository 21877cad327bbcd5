"""Several processes that learn together: each reads its share of a step's clips, and all take the same step.

The first is the command itself; it alone writes. It starts the others, unless torchrun started them all.
They learn what one process would: the clips of a step are divided among them, not multiplied.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sotaque.errors import ModelError, SettingsError, SotaqueError, StoppedError
from sotaque.training import torchrun
from sotaque.training.group import Group

WAITING = timedelta(minutes=10)  # for another process, as for the first while it lets the network speak
GRACE_S = 30


@contextlib.contextmanager
def together(size: int, work: Callable[..., None], *arguments: Any) -> Iterator[Group]:
    """The first of `size` processes; each of the others runs work(group, *arguments).

    Raises SettingsError when torchrun or the cards of this machine do not fit, ModelError when another
    process ends before this one.
    """
    _check(size)
    if size == 1:
        yield Group()
    elif torchrun.started():
        with joined(torchrun.begin(), 0, size, torchrun.local_rank()) as group:
            yield group
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            _others(size, Path(folder), work, arguments),
            joined(_store(Path(folder), size), 0, size, 0) as group,
        ):
            yield group


def _check(size: int) -> None:
    if torchrun.started() and torchrun.size() != size:
        raise SettingsError(
            f"params.yaml: train.processes is {size}, but torchrun started {torchrun.size()}; make them "
            "equal, for the last digits of a result depend on it"
        )
    cards = torch.cuda.device_count()
    if 0 < cards < size and not torchrun.started():
        raise SettingsError(
            f"params.yaml: train.processes is {size}, but this machine has {cards} cards, one for each; "
            "lower it, or start the command with torchrun on several machines"
        )


@contextlib.contextmanager
def joined(store: dist.Store, rank: int, size: int, card: int) -> Iterator[Group]:
    """This process among the others; they part when all have ended the block without an error."""
    words = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(card)
        words = "cpu:gloo,cuda:nccl"
    dist.init_process_group(words, store=store, rank=rank, world_size=size, timeout=WAITING)
    group = Group(rank, size)
    yield group
    group.wait()
    dist.destroy_process_group()


def _store(folder: Path, size: int) -> dist.Store:
    return dist.FileStore(str(folder / "store"), size)


@contextlib.contextmanager
def _others(size: int, folder: Path, work: Callable[..., None], arguments: tuple) -> Iterator[None]:
    """The processes beside the first, all on this machine; none is left behind."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody outside this machine is listened to
    context = multiprocessing.get_context("forkserver")
    others = [
        context.Process(target=_other, args=(rank, size, folder, work, arguments), daemon=True)
        for rank in range(1, size)
    ]
    for process in others:
        process.start()
    grace_s = 0
    try:
        yield
        grace_s = GRACE_S
    except StoppedError:
        grace_s = GRACE_S
        raise
    except RuntimeError as error:
        raise _blame(others, error) from None
    finally:
        for process in others:
            process.join(grace_s)
            process.kill()
            process.join()
        if dist.is_initialized():
            dist.destroy_process_group()


def _blame(others: Sequence[BaseProcess], error: RuntimeError) -> Exception:
    """Another process, when that is why this one cannot go on: one that has ended, or does not answer."""
    wait([process.sentinel for process in others], timeout=5)
    for rank, process in enumerate(others, 1):
        if process.exitcode:
            return ModelError(
                f"process {rank} of this training ended with status {process.exitcode}; what it said stands "
                "above. The same command goes on from the last checkpoint"
            )
    if isinstance(error, dist.DistError) or "gloo" in str(error):
        return ModelError(
            f"another process of this training broke off or said nothing for {WAITING.seconds // 60} min: "
            f"{str(error).splitlines()[0]}. The same command goes on from the last checkpoint"
        )
    return error


def _other(rank: int, size: int, folder: Path, work: Callable[..., None], arguments: tuple) -> None:
    """All that a process beside the first does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first decides
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        with joined(_store(folder, size), rank, size, rank) as group, quiet():
            work(group, *arguments)
    except StoppedError as stopped:
        sys.exit(stopped.exit_status)
    except SotaqueError as error:
        print(f"process {rank}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_status)


def _end_with_the_first() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What all processes would say, the first says."""
    logging.getLogger("sotaque").setLevel(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
