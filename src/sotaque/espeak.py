"""Speech from espeak-ng, the only door to its C library (carried by the wheel `espeakng-loader`).

The result of `speak` depends on its arguments alone: the engine keeps noise, echo and pitch state between
utterances, so it is started afresh for each one. Nothing is loaded when this module is imported.
"""

import _ctypes
import contextlib
import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sotaque.errors import InputError

_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_TELL_PHONEMES = 1
_LAST_EVENT, _PHONEME_EVENT = 0, 7
RATE_WPM = (80, 450)
PITCH = (0, 99)


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; sample: where it happens; name: the phoneme's, up to eight bytes."""

    _fields_ = (
        ("kind", ctypes.c_int), ("utterance", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_ms", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("name", ctypes.c_char * 8),
    )  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Speech:
    """samples: (T,) float32 in -1..1 at rate_hz; phonemes: the sample at which each begins, and its name."""

    samples: np.ndarray
    rate_hz: int
    phonemes: list[tuple[int, str]]


class _Engine:
    """A freshly loaded libespeak-ng, the samples and the phonemes that its callback collects.

    Loading anew is the only reset: the wave generator keeps its phase and echo in static variables.
    """

    def __init__(self):
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
            ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.chunks: list[np.ndarray] = []
        self.phonemes: list[tuple[int, str]] = []
        self.callback = _CALLBACK(self._collect)
        self.rate_hz = self.library.espeak_Initialize(_SYNCHRONOUS, 0, str(_data()).encode(), _TELL_PHONEMES)
        if self.rate_hz <= 0:
            raise InputError(f"espeak-ng does not start with its data in {_data()} (status {self.rate_hz})")
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples, count, events) -> int:
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events[index].kind != _LAST_EVENT:
            if events[index].kind == _PHONEME_EVENT:
                self.phonemes.append((events[index].sample, events[index].name.decode("utf-8")))
            index += 1
        return 0

    def synthesize(self, text: str) -> np.ndarray:
        """(T,) int16. Breath and flutter are drawn from two generators: both start anew."""
        self.library.espeak_ng_SetRandSeed(1)
        ctypes.CDLL(None).srand(1)
        encoded = text.encode("utf-8") + b"\0"
        status = self.library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        if status != 0 or not self.chunks:
            raise InputError(f"espeak-ng says nothing for {text!r} (status {status})")
        return np.concatenate(self.chunks)

    def close(self) -> None:
        self.library.espeak_Terminate()
        _ctypes.dlclose(self.library._handle)


def _data() -> Path:
    import espeakng_loader

    return Path(espeakng_loader.get_data_path())


@functools.cache
def voices() -> list[str]:
    """Every language voice in lower case, e.g. `pt-br`; a `+variant` may follow."""
    return sorted(path.name.lower() for path in (_data() / "lang").rglob("*") if path.is_file())


@functools.cache
def variants() -> list[str]:
    """Every voice variant (pitch, formants, breath), e.g. `f2`."""
    return sorted(path.name for path in (_data() / "voices" / "!v").iterdir())


@functools.cache
def _check_voice(voice: str) -> None:
    """espeak-ng itself silently ignores a variant it does not know."""
    name, plus, variant = voice.partition("+")
    if name.lower() not in voices():
        raise InputError(f"espeak-ng has no voice {name!r} (asked for {voice!r}); there are {voices()}")
    if plus and variant not in variants():
        raise InputError(
            f"espeak-ng has no variant {variant!r} (asked for {voice!r}); there are {variants()}"
        )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"espeak-ng's {name} is {value}; it must lie between {low} and {high}")


def speak(
    text: str, voice: str, rate_wpm: int = 175, pitch: int = 50, pitch_range: int = 50
) -> tuple[np.ndarray, int]:
    """Say `text`: samples (T,) float32 in -1..1, and their rate in Hz. Arguments as in `speak_phonemes`."""
    said = speak_phonemes(text, voice, rate_wpm, pitch, pitch_range)
    return said.samples, said.rate_hz


def speak_phonemes(
    text: str, voice: str, rate_wpm: int = 175, pitch: int = 50, pitch_range: int = 50
) -> Speech:
    """Say `text`, and when which phoneme of the voice's language is said.

    voice: a language and perhaps a variant, `pt-br+f2`; pitch and pitch_range: 0..99, 50 is the voice's own.
    """
    _check_voice(voice)
    _check_range("rate_wpm", rate_wpm, *RATE_WPM)
    _check_range("pitch", pitch, *PITCH)
    _check_range("pitch_range", pitch_range, *PITCH)
    with contextlib.closing(_Engine()) as engine:
        if engine.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InputError(f"espeak-ng refuses the voice {voice!r}")
        for parameter, value in ((_RATE, rate_wpm), (_PITCH, pitch), (_PITCH_RANGE, pitch_range)):
            engine.library.espeak_SetParameter(parameter, value, 0)
        samples = engine.synthesize(text)
        return Speech(samples.astype(np.float32) / 32768.0, engine.rate_hz, engine.phonemes)
