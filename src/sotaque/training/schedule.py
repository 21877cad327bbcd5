"""The learning rate of a step: it rises over the warm-up, then follows `train.schedule`.

Source of the cosine: Loshchilov and Hutter, SGDR, arXiv:1608.03983, equation 5, without restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "constant": lambda done: 1.0,
}


def learning_rate(step: int, steps: int, peak: float, warmup_share: float, schedule: str = "linear") -> float:
    """Linear from 0 to the peak over the warm-up, then a shape of SHAPES; `step` counts from 1."""
    warm_up = math.ceil(warmup_share * steps)
    if step <= warm_up:
        return peak * step / warm_up
    return peak * SHAPES[schedule]((step - 1 - warm_up) / (steps - warm_up))
