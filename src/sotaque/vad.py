"""Where somebody speaks: silero-vad's network, carried by its wheel, run by onnxruntime.

Only the network's file is taken from the package: importing it would load torch and set torch's threads.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np

from sotaque import audio
from sotaque.errors import ModelError

RATE_HZ = 16_000
FRAME_SAMPLES = 512
FRAME_S = FRAME_SAMPLES / RATE_HZ
SPEECH = 0.5  # the probability from which silero-vad itself calls a frame speech
_CONTEXT_SAMPLES = 64
_BLOCK_FRAMES = 512
_STATE = (1, 1, 128)
_NETWORK = "data/silero_vad_16k_sequence.onnx"


def speech_probability(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Samples (T,) -> the probability of speech in each frame of 32 ms, (F,) float32, the last one padded.

    Frames and contexts are cut as in SileroVADSequence of silero-vad's sequence_vad.py; blocks of 16 s
    bound the memory.
    """
    samples = audio.resample(np.asarray(samples, np.float32), rate_hz, RATE_HZ)
    frames = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    before = np.zeros((len(frames), _CONTEXT_SAMPLES), np.float32)
    before[1:] = frames[:-1, -_CONTEXT_SAMPLES:]
    hidden, cell = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(frames), _BLOCK_FRAMES):
        some = slice(start, start + _BLOCK_FRAMES)
        given = {"input": np.hstack([before[some], frames[some]]), "h": hidden, "c": cell}
        speech, hidden, cell = _session().run(["speech_probs", "hn", "cn"], given)
        found.append(speech.reshape(-1))
    return np.concatenate(found)


def load_libraries() -> None:
    """Import now what speech_probability imports when first called, so that a forked worker need not."""
    import onnxruntime  # noqa: F401


@functools.cache
def _session():
    import onnxruntime

    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModelError("silero-vad is not installed; run make install")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(package.origin).parent / _NETWORK
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
