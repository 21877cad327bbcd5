"""silero-vad without torch: the probabilities of the package's own front end, and speech told from none."""

import subprocess
import sys

import numpy as np
import pytest

from sotaque import vad
from sotaque.espeak import speak


@pytest.fixture(scope="module")
def sentence():
    samples, rate_hz = speak("Amanhã vou à praia com a minha avó.", "pt-br+f1")
    return samples.astype(np.float32), rate_hz


def test_the_probabilities_are_those_of_the_package(sentence):
    from silero_vad import load_silero_vad

    from sotaque import audio

    samples = np.tile(audio.resample(*sentence, vad.RATE_HZ), 10)
    assert len(samples) > 20 * vad.RATE_HZ, "more than one block"
    expected = load_silero_vad(sequence=True).audio_forward(samples)
    np.testing.assert_allclose(vad.speech_probability(samples, vad.RATE_HZ), expected, rtol=0, atol=1e-5)


def test_speech_is_told_from_silence_and_noise(sentence):
    samples, rate_hz = sentence
    noise = 0.01 * np.random.default_rng(0).standard_normal(2 * rate_hz).astype(np.float32)
    assert np.median(vad.speech_probability(samples, rate_hz)) > 0.9
    assert vad.speech_probability(noise, rate_hz).max() < vad.SPEECH
    assert vad.speech_probability(np.zeros(rate_hz, np.float32), rate_hz).max() < vad.SPEECH


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (512, 1), (513, 2), (16_000, 32)])
def test_a_frame_for_every_32_ms_begun(samples, frames):
    assert vad.speech_probability(np.zeros(samples, np.float32), vad.RATE_HZ).shape == (frames,)


def test_torch_is_not_loaded():
    code = "import sys, numpy; from sotaque import vad; vad.speech_probability(numpy.zeros(900), 16000)"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
