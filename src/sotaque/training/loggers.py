"""The curves of a running stage for those who look at them elsewhere: `tracking.also`.

Each logger is a package of its own, which is not installed unless one wants it. A run is known by the
checksum of its pipeline, so a training that was stopped goes on in the same curves.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sotaque.errors import SettingsError

FOLDER = Path("logs")


@dataclass(frozen=True)
class About:
    """experiment: of tracking. key: of the pipeline. job: the running stage. params: dotted key and value."""

    experiment: str
    key: str
    job: str
    params: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.job.replace('/', '-')}-{self.key[:12]}"


class Logger(Protocol):
    """Opened when there is a first point, whose step is `first`."""

    def __init__(self, about: About, first: int): ...

    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in logs/tensorboard/; look at them with `tensorboard --logdir logs/tensorboard`."""

    def __init__(self, about: About, first: int):
        from torch.utils.tensorboard import SummaryWriter

        # Points of a run that was killed behind its last checkpoint are measured again.
        self._writer = SummaryWriter(str(FOLDER / "tensorboard" / about.name), purge_step=first)

    def log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases: online where one has logged in, else with WANDB_MODE=offline in logs/wandb/."""

    def __init__(self, about: About, first: int):
        import wandb

        FOLDER.mkdir(exist_ok=True)
        self._run = wandb.init(
            project=about.experiment, group=about.key[:12], id=about.name, name=about.name,
            config=about.params, dir=str(FOLDER), resume="allow",
        )  # fmt: skip

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio: kept in logs/trackio/ unless TRACKIO_DIR says otherwise; `trackio show` opens its pages."""

    def __init__(self, about: About, first: int):
        os.environ.setdefault("TRACKIO_DIR", str(FOLDER.resolve() / "trackio"))
        import trackio

        self._run = trackio.init(
            project=about.experiment, name=about.name, config=about.params, resume="allow", embed=False
        )

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": Wandb, "trackio": Trackio}


def check(names: tuple[str, ...]) -> None:
    """Raises SettingsError, with the command to type, for a logger whose package is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise SettingsError(
                f"params.yaml: tracking.also names {name}, whose package is not installed; "
                f"type: {sys.executable} -m pip install {name}"
            )
