"""Speech as the main pipeline will hear it: 24 kHz, trimmed, -23 LUFS; and clips drawn at random by index."""

import functools
import random
import warnings
from dataclasses import dataclass

import numpy as np

from sotaque.data.sentences import Grammar, is_reserved, novel_words
from sotaque.micro.voices import BASE, HEARD_ACCENTS, HEARD_VARIANTS, Voice

RATE_HZ = 24_000
LOUDNESS_LUFS = -23.0
PEAK = 0.89
SILENCE = "_"
_SILENCE_DB = -50.0
_MARGIN_S = 0.05


@dataclass(frozen=True)
class Clip:
    """samples: (T,) float32 at RATE_HZ."""

    text: str
    voice: Voice
    samples: np.ndarray


@functools.cache
def _meter():
    import pyloudnorm

    return pyloudnorm.Meter(RATE_HZ)


def voiced_span(samples: np.ndarray) -> tuple[int, int]:
    """First and last sample (exclusive) of what is not silence, with a short margin on both sides."""
    hop = RATE_HZ // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power_db = 10 * np.log10((frames**2).mean(1) + 1e-12)
    loud = np.flatnonzero(power_db > power_db.max() + _SILENCE_DB)
    margin = round(_MARGIN_S * RATE_HZ)
    return max(0, int(loud[0]) * hop - margin), min(len(samples), (int(loud[-1]) + 1) * hop + margin)


def level(samples: np.ndarray) -> np.ndarray:
    """At LOUDNESS_LUFS, or lower where the peak would pass PEAK. (T,) -> (T,)"""
    shortest = round(0.41 * RATE_HZ)
    measured = np.pad(samples, (0, max(0, shortest - len(samples))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loudness = _meter().integrated_loudness(measured.astype(np.float64))
    gain = 10 ** ((LOUDNESS_LUFS - max(loudness, -60.0)) / 20)
    return (samples * min(gain, PEAK / np.abs(samples).max())).astype(np.float32)


def render(voice: Voice, text: str) -> np.ndarray:
    """(T,) float32 at RATE_HZ."""
    return render_phonemes(voice, text)[0]


def render_phonemes(voice: Voice, text: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Samples (T,) float32 at RATE_HZ; each phoneme's first sample and name, stress marks taken off."""
    import soxr

    said = voice.speak_phonemes(text)
    samples = soxr.resample(said.samples, said.rate_hz, RATE_HZ)
    start, end = voiced_span(samples)
    phonemes = [
        (max(0, round(at * RATE_HZ / said.rate_hz) - start), name.strip("',%:") or SILENCE)
        for at, name in said.phonemes
    ]
    return level(samples[start:end]), [(at, name) for at, name in phonemes if at < end - start]


def phonemes_at(phonemes: list[tuple[int, str]], length: int, places: np.ndarray) -> list[str]:
    """The phoneme said at each sample of a clip of `length` samples; silence after its end."""
    starts, names = zip(*phonemes, strict=True)
    numbers = np.maximum(np.searchsorted(starts, places, side="right") - 1, 0)
    return [names[n] if at < length else SILENCE for n, at in zip(numbers, places, strict=True)]


def base_voice(rng: random.Random, shares: dict[str, float]) -> Voice:
    """One of the base model's voices, languages in the given shares."""
    language = rng.choices(list(shares), list(shares.values()))[0]
    return rng.choice([voice for voice in BASE if voice.language == language])


def heard_voice(rng: random.Random, shares: dict[str, float]) -> Voice:
    """Any accent with any variant but the targets', at any pitch and speed."""
    language = rng.choices(list(shares), list(shares.values()))[0]
    espeak = f"{rng.choice(HEARD_ACCENTS[language])}+{rng.choice(HEARD_VARIANTS)}"
    rate_wpm, pitch = rng.randint(120, 175), rng.randint(25, 75)
    return Voice("", language, espeak, rate_wpm, pitch, rng.randint(35, 65))


@functools.cache
def _grammar(language: str) -> Grammar:
    return Grammar(language, random.Random(0))  # noqa: S311


def training_text(
    rng: random.Random, language: str, template_share: float, low: int, high: int, reserved: bool = False
) -> str:
    """A text without novel words that no demonstration holds; with `reserved`, one that no training holds."""
    grammar = _grammar(language)
    grammar.rng = rng
    while True:
        text = grammar.template() if rng.random() < template_share else grammar.sequence(low, high)
        if is_reserved(text) == reserved and not novel_words(text, language):
            return text
