"""Loudness by EBU R128 (ITU-R BS.1770-4), as pyloudnorm measures it, whose two filters these are.

The filters run in blocks of 32 samples: a block's output is a matrix times its samples and the state in
which it finds the filters, and the states follow from each other by doubling. So the work is in small
matrix products, a third of the time of a loop over samples, and needs no scipy, which takes longer to
import than a hundred clips to measure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from sotaque.errors import ClipError

BLOCK_S = 0.4
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
_OFFSET_LU = 0.691  # BS.1770-4, formula 2: 0 LUFS is this much more than full scale squared
_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1500.0, 4.0, 2**-0.5  # the head's acoustics
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.0, 0.5
_SAMPLES, _STATES = 32, 4
_ROWS = 128  # blocks in a matrix product, small enough that no BLAS divides it among threads
_NEGLIGIBLE = 1e-20
_ROUNDS = 4
_CLOSE_LU = 1e-3


def loudness_lufs(samples: np.ndarray, rate_hz: int) -> float:
    """Integrated loudness of samples (T,), -inf for silence.

    Raises ClipError "too-short" under 0.4 s, the length of one gating block.
    """
    return gated_lufs(block_powers(samples, rate_hz)[0])


def gain_db(powers: Sequence[np.ndarray], target_lufs: float) -> float:
    """What brings a clip with these `block_powers` to the target.

    Gating is that of the louder or softer clip: the gate at -70 LUFS lets other blocks pass. Where the two
    ways to count blocks differ, the middle between them is at the target, so that meters of either kind
    are content.
    """
    found = 0.0
    for _ in range(_ROUNDS):
        readings = [gated_lufs(some * 10 ** (found / 10)) for some in powers]
        missing = target_lufs - sum(readings) / len(readings)
        found += missing
        if abs(missing) < _CLOSE_LU:
            break
    return found


def block_powers(samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, ...]:
    """Mean squares of the filtered gating blocks, 400 ms every 100 ms: (B,), and perhaps (B + 1,).

    The first are the standard's, without the block that the end cuts off. pyloudnorm counts that one too, as
    if silence followed, where less than 50 ms of it are missing: the second, then. Raises ClipError
    "too-short".
    """
    if len(samples) < BLOCK_S * rate_hz:
        raise ClipError("too-short", f"{len(samples) / rate_hz:.3f} s; loudness needs {BLOCK_S} s")
    energy = np.square(k_weighted(samples, rate_hz))
    hop = BLOCK_S / 4 * rate_hz
    edges = (np.arange(int(len(samples) / hop + 1e-9) + 1) * hop + 1e-9).astype(int)
    hops = np.add.reduceat(energy[: edges[-1]], edges[:-1], dtype=np.float64)
    powers = (hops[:-3] + hops[1:-2] + hops[2:-1] + hops[3:]) / (4 * hop)
    rest = energy[edges[-1] :]
    if len(rest) < hop / 2:
        return (powers,)
    return powers, np.append(powers, (hops[-3:].sum() + rest.sum(dtype=np.float64)) / (4 * hop))


def gated_lufs(powers: np.ndarray) -> float:
    """Loudness of the blocks (B,) that pass both gates, -inf when none does."""
    heard = powers[powers >= 10 ** ((ABSOLUTE_GATE_LUFS + _OFFSET_LU) / 10)]
    if not heard.size:
        return -np.inf
    above = heard[heard > heard.sum() / heard.size * 10 ** (RELATIVE_GATE_LU / 10)]
    return 10 * math.log10(above.sum() / above.size) - _OFFSET_LU


def k_weighted(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Samples (T,) through both filters: float32, but for the states, where errors would add up."""
    outputs, leaves, onward = _matrices(rate_hz)
    size = _SAMPLES * _ROWS
    blocks = np.zeros((-(-len(samples) // size) * _ROWS, _SAMPLES + _STATES), np.float32)
    whole, rest = divmod(len(samples), _SAMPLES)
    blocks[:whole, :_SAMPLES] = samples[: whole * _SAMPLES].reshape(whole, _SAMPLES)
    blocks[whole : whole + 1, :rest] = samples[whole * _SAMPLES :]
    parts = blocks.reshape(-1, _ROWS, _SAMPLES + _STATES)
    states = (parts[..., :_SAMPLES] @ leaves).reshape(-1, _STATES).astype(np.float64)
    _follow(states, onward)
    blocks[1:, _SAMPLES:] = states[:-1]
    return (parts @ outputs).reshape(-1)[: len(samples)]


def _follow(states: np.ndarray, onward: np.ndarray) -> None:
    """Add to what each block leaves in the filters (N, 4) what those before it left, in place."""
    step, power = 1, onward
    while step < len(states) and np.abs(power).max() > _NEGLIGIBLE:
        states[step:] += states[:-step] @ power
        step, power = 2 * step, power @ power


@functools.cache
def _matrices(rate_hz: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A block's samples and its first state (36,) -> outputs (32,); samples (32,) -> last state (4,);
    first state (4,) -> last state (4,): what each unit of the input becomes."""
    inputs = np.eye(_SAMPLES + _STATES)
    state, outputs = inputs[_SAMPLES:].copy(), np.empty((_SAMPLES, _SAMPLES + _STATES))
    for sample in range(_SAMPLES):
        signal = inputs[sample]
        for (b0, b1, b2, a1, a2), s in zip(_sections(rate_hz), (state[:2], state[2:]), strict=True):
            out = b0 * signal + s[0]
            s[0], s[1] = b1 * signal - a1 * out + s[1], b2 * signal - a2 * out
            signal = out
        outputs[sample] = signal
    leaves, onward = np.split(state.T, [_SAMPLES])
    return outputs.T.astype(np.float32, "C"), leaves.astype(np.float32, "C"), onward.copy()


def _sections(rate_hz: int) -> list[np.ndarray]:
    """b0, b1, b2, a1, a2 of both filters, by R. Bristow-Johnson's Audio EQ Cookbook."""
    amplitude = 10 ** (_SHELF_DB / 40)
    more, less, cos, alpha = amplitude + 1, amplitude - 1, *_angle(_SHELF_HZ, _SHELF_Q, rate_hz)
    bend = 2 * amplitude**0.5 * alpha
    shelf = (
        amplitude * (more + less * cos + bend),
        -2 * amplitude * (less + more * cos),
        amplitude * (more + less * cos - bend),
        more - less * cos + bend,
        2 * (less - more * cos),
        more - less * cos - bend,
    )
    cos, alpha = _angle(_HIGH_PASS_HZ, _HIGH_PASS_Q, rate_hz)
    high_pass = ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2, 1 + alpha, -2 * cos, 1 - alpha)
    return [np.delete(section, 3) / section[3] for section in map(np.array, (shelf, high_pass))]


def _angle(at_hz: float, q: float, rate_hz: int) -> tuple[float, float]:
    """cos w0 and alpha, as the Cookbook calls them."""
    w0 = 2 * np.pi * at_hz / rate_hz
    return float(np.cos(w0)), float(np.sin(w0) / (2 * q))
