"""Failed clips, by kind: what is wrong with a generated clip whatever its scores are.

Each rule is a pure function of one clip. A clip has at most one kind, the first of KINDS that applies. The
thresholds are set so that a recording of its own text has no failure; they are conventions of this project,
since no common standard exists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SHORTEST_S = 0.05
AUDIBLE_DBFS = -60.0
FRAME_S = 0.03
CLOSING_BELOW_DB = 30.0
MISSING_LETTERS = 4
UNMATCHED_RATIO = 0.5
GRAM_WORDS = 3
TOO_LONG_RATIO = 1.75
TOO_LONG_S = 1.0


@dataclass(frozen=True)
class Clip:
    """A generated clip and what it should have been.

    samples: (T,), full scale 1.0; None where there is no file. rate_hz: of the samples.
    recording_s: length of a recording of the same text, or the length expected of it; None where unknown.
    stopped: the model ended the clip itself; False at the generation limit, None where nothing generated it.
    reference, transcript: words after the normaliser of the language; transcript is None without an ASR.
    """

    samples: np.ndarray | None
    rate_hz: int
    recording_s: float | None = None
    stopped: bool | None = None
    reference: Sequence[str] = ()
    transcript: Sequence[str] | None = None

    @property
    def duration_s(self) -> float:
        return 0.0 if self.samples is None else len(self.samples) / self.rate_hz


def is_empty(clip: Clip) -> bool:
    """No file, or less than 50 ms of sound: shorter than any word."""
    return clip.duration_s < SHORTEST_S


def is_silent(clip: Clip) -> bool:
    """No audible sound: no 30 ms are louder than -60 dBFS."""
    return not is_audible(clip.samples, clip.rate_hz)


def is_at_limit(clip: Clip) -> bool:
    """The model did not end the clip: the generation limit did."""
    return clip.stopped is False


def is_cut(clip: Clip) -> bool:
    """Ends before the text does: final words are missing, and the sound stops without closing silence.

    Missing: after the last word that was recognised, the transcript has fewer words than the text, and at
    least 4 letters less. Where no word was recognised the words say nothing about the end, so the clip must
    also be shorter than half the recording. No closing silence: the last 30 ms are less than 30 dB below the
    loudest 30 ms.
    """
    if clip.transcript is None or not clip.reference or _closing_below_db(clip) >= CLOSING_BELOW_DB:
        return False
    expected, recognised, is_matched = _after_last_match(clip.reference, clip.transcript)
    missing_letters = sum(map(len, expected)) - sum(map(len, recognised))
    if len(recognised) >= len(expected) or missing_letters < MISSING_LETTERS:
        return False
    return is_matched or (
        clip.recording_s is not None and clip.duration_s < UNMATCHED_RATIO * clip.recording_s
    )


def is_repeated(clip: Clip) -> bool:
    """The same words again, beyond the text: a loop.

    More words are recognised than the text has, and some run of three words (of two in a text of one or two
    words) is recognised at least twice and more often than it stands in the text.
    """
    if clip.transcript is None or len(clip.transcript) <= len(clip.reference):
        return False
    size = min(GRAM_WORDS, max(2, len(clip.reference)))
    expected, recognised = _grams(clip.reference, size), _grams(clip.transcript, size)
    return any(count > max(1, expected[gram]) for gram, count in recognised.items())


def is_too_long(clip: Clip) -> bool:
    """More than 1.75 times as long as the recording of the same text, and at least a second longer.

    So a text that is spoken twice is too long, also where the ASR recognises it only once.
    """
    if clip.recording_s is None:
        return False
    longest_s = max(TOO_LONG_RATIO * clip.recording_s, clip.recording_s + TOO_LONG_S)
    return clip.duration_s > longest_s


RULES: dict[str, Callable[[Clip], bool]] = {
    "empty": is_empty,
    "silent": is_silent,
    "limit": is_at_limit,
    "cut": is_cut,
    "repeated": is_repeated,
    "too-long": is_too_long,
}
KINDS = tuple(RULES)
ABOUT = {
    "empty": "no sound at all",
    "silent": "nothing audible: no 30 ms louder than -60 dBFS",
    "limit": "ran into the generation limit without ending",
    "cut": "final words missing and no closing silence",
    "repeated": "the same words again, beyond the text",
    "too-long": "over 1.75 times as long as the recording, and over a second longer",
}


def classify(clip: Clip) -> str | None:
    """The kind of failure of a clip, the first of KINDS whose rule applies; None for a clip without one."""
    return next((kind for kind, applies in RULES.items() if applies(clip)), None)


def count(kinds: Iterable[str | None]) -> dict[str, int]:
    """How many clips failed, by kind, in the order of KINDS; a kind without a clip counts 0."""
    counts = Counter(kinds)
    return {kind: counts[kind] for kind in KINDS}


def is_audible(samples: np.ndarray | None, rate_hz: int) -> bool:
    """Whether samples (T,) hold at least 50 ms and, in some 30 ms, more than -60 dBFS."""
    if samples is None or len(samples) < SHORTEST_S * rate_hz:
        return False
    return bool(_frame_levels_dbfs(samples, rate_hz).max() > AUDIBLE_DBFS)


def _frame_levels_dbfs(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """RMS of consecutive frames of 30 ms in dBFS; the frames end where the clip ends."""
    size = max(1, round(FRAME_S * rate_hz))
    samples = np.asarray(samples, np.float64)
    frames = samples[len(samples) % size if len(samples) >= size else 0 :].reshape(
        -1, min(size, len(samples))
    )
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-20)


def _closing_below_db(clip: Clip) -> float:
    levels = _frame_levels_dbfs(clip.samples, clip.rate_hz)
    return float(levels.max() - levels[-1])


def _after_last_match(
    reference: Sequence[str], transcript: Sequence[str]
) -> tuple[Sequence[str], Sequence[str], bool]:
    """The words of both after the last one that agrees, in an alignment by jiwer; whether any agrees."""
    import jiwer

    chunks = jiwer.process_words(" ".join(reference), " ".join(transcript)).alignments[0]
    matched = [chunk for chunk in chunks if chunk.type == "equal"]
    if not matched:
        return reference, transcript, False
    return reference[matched[-1].ref_end_idx :], transcript[matched[-1].hyp_end_idx :], True


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
