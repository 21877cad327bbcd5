"""Where a clip is silent: its ends are trimmed, and cuts through a recording move to a pause near by.

Silence is told by the level of 10 ms, relative to the loudest, or by silero-vad, which also tells breath,
clicks and a noisy room from speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sotaque import vad
from sotaque.errors import ClipError
from sotaque.settings import Normalize

PAUSE_S = 0.12  # longer than the closure of a stop inside a word
_LEVEL_FRAME_S = 0.01
_ENDS_BELOW = 0.35  # silero-vad's own: speech goes on until its probability is this much or less


@dataclass(frozen=True)
class Activity:
    """heard: (F,) bool, whether each frame of frame_s is sound that is wanted; the last one may be short."""

    heard: np.ndarray
    frame_s: float


def activity(samples: np.ndarray, rate_hz: int, wanted: Normalize) -> Activity:
    if wanted.trim == "vad":
        return by_vad(samples, rate_hz)
    return by_level(samples, rate_hz, wanted.trim_below_peak_db)


def by_level(samples: np.ndarray, rate_hz: int, below_peak_db: float) -> Activity:
    """Heard is a frame whose power is no more than below_peak_db under the loudest one's."""
    hop = max(1, round(_LEVEL_FRAME_S * rate_hz))
    whole = samples[: len(samples) // hop * hop].reshape(-1, hop)
    rest = samples[whole.size :]
    energy = np.einsum("fs,fs->f", whole, whole)
    power = (np.append(energy, rest @ rest) if rest.size else energy) / hop
    loudest = power.max(initial=0.0)
    return Activity((power > loudest * 10 ** (-below_peak_db / 10)) & (loudest > 0), hop / rate_hz)


def by_vad(samples: np.ndarray, rate_hz: int) -> Activity:
    """Heard is a run of frames above 0.35 of which one reaches 0.5, as silero-vad's get_speech_timestamps."""
    speech = vad.speech_probability(samples, rate_hz)
    heard = np.zeros(len(speech), dtype=bool)
    for start, end in runs(speech > _ENDS_BELOW):
        heard[start:end] = (speech[start:end] >= vad.SPEECH).any()
    return Activity(heard, vad.FRAME_S)


def trimmed(samples: np.ndarray, rate_hz: int, found: Activity, margin_s: float) -> np.ndarray:
    """Cut the silence at both ends: (T,) -> (T',); margin_s is kept. What has no sound comes back whole."""
    heard = np.flatnonzero(found.heard)
    if not heard.size:
        return samples
    first, last = (heard[0] * found.frame_s - margin_s, (heard[-1] + 1) * found.frame_s + margin_s)
    return samples[max(0, round(first * rate_hz)) : round(last * rate_hz)]


def check_speech(found: Activity) -> None:
    """Raise ClipError "no-speech" where nothing is heard."""
    if not found.heard.any():
        raise ClipError("no-speech", "silero-vad hears nobody speak in it")


def cut(samples: np.ndarray, rate_hz: int, first: int, last: int, wanted: Normalize) -> np.ndarray:
    """The piece samples[first:last] of (T,), each end moved to the nearest pause within cut_margin_s.

    samples: the piece with what is around it, cut_margin_s + PAUSE_S on either side where there is so much.
    """
    found = activity(samples - samples.mean(dtype=np.float64), rate_hz, wanted)
    ends = [moved(at, len(samples), rate_hz, found, wanted.cut_margin_s) for at in (first, last)]
    return samples[ends[0] : ends[1]] if ends[0] < ends[1] else samples[first:last]


def moved(at: int, size: int, rate_hz: int, found: Activity, reach_s: float) -> int:
    """The sample nearest to `at`, of 0 to size, in a pause of PAUSE_S or more; `at` when none is in reach.

    What is beyond the ends counts as silence. A point that moves goes PAUSE_S / 2 into the pause.
    """
    beyond = int(np.ceil(PAUSE_S / found.frame_s))
    silent = np.pad(~found.heard, beyond, constant_values=True)
    places = []
    for start, end in runs(silent):
        if (end - start) * found.frame_s < PAUSE_S - 1e-9:
            continue
        low, high = (round((edge - beyond) * found.frame_s * rate_hz) for edge in (start, end))
        if low <= at <= high:
            return at
        inside = min(round(PAUSE_S / 2 * rate_hz), (high - low) // 2)
        edge, goal = (low, low + inside) if at < low else (high, high - inside)
        places.append((abs(edge - at), min(max(goal, 0), size)))
    distance, goal = min(places, default=(size + 1, at))
    return goal if distance <= reach_s * rate_hz else at


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """The runs of true flags (F,), each from its first to behind its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
