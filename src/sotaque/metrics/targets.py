"""Whether a target is met, judged by the interval of a figure and not by its value alone."""

from __future__ import annotations

from typing import Any

from sotaque.metrics.registry import Column

MET, NOT_MET, OPEN = "met", "not met", "open"
NO_VALUE = "nothing was measured"


def judge(column: Column, target: float, figures: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a column of a system's figures: target, value, low, high, state and why.

    met: the whole 95 % interval is on the right side of the target; not met: the whole interval is on the
    wrong side, which holds the target itself; open: else, and where there is no interval. `why` says why.
    """
    value, low, high = (figures[f"{column.name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        state, why = OPEN, NO_VALUE
    elif low is None or high is None:
        state, why = OPEN, figures["intervals"][column.name]
    else:
        state = _state(column.better == "lower", target, low, high)
        where = {MET: "is on the right side", NOT_MET: "is on the wrong side", OPEN: "holds the target"}
        digits = column.fine_digits
        why = f"the 95 % interval, {low:.{digits}f} to {high:.{digits}f}, {where[state]}"
    return {"target": target, "value": value, "low": low, "high": high, "state": state, "why": why}


def _state(is_lower_better: bool, target: float, low: float, high: float) -> str:
    if is_lower_better:
        return MET if high < target else NOT_MET if low >= target else OPEN
    return MET if low > target else NOT_MET if high <= target else OPEN
