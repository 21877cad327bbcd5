"""What every micro training shares: atomic checkpoints, a learning-rate schedule and lines of progress."""

import json
import time
from pathlib import Path

import torch

from sotaque import files


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def save_atomically(state: dict, path: Path) -> None:
    with files.atomic(path) as temporary:
        files.save_torch(state, temporary)


def load(path: Path) -> dict | None:
    """The state saved last, None at the very start."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def learning_rate(step: int, steps: int, peak: float, warm_up: int, decay_share: float) -> float:
    """Linear warm-up, then constant, then linear to zero over the last `decay_share` of the steps."""
    rising = min(1.0, (step + 1) / warm_up)
    falling = min(1.0, (steps - step) / max(1.0, decay_share * steps))
    return peak * rising * falling


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class Log:
    """Curve of a training: one JSON line a report, and the same line printed."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.start = path, time.time()

    def __call__(self, **figures) -> None:
        rounded = {key: round(v, 4) if isinstance(v, float) else v for key, v in figures.items()}
        line = json.dumps(rounded | {"running_s": round(time.time() - self.start)})
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(line + "\n")
        print(line, flush=True)


def elapsed_s(path: Path) -> float:
    """Seconds of training in all runs that wrote the curve at `path`."""
    total, last = 0.0, 0.0
    for line in path.read_text(encoding="utf-8").splitlines():
        running = json.loads(line)["running_s"]
        total, last = (total + last, running) if running < last else (total, running)
    return total + last
