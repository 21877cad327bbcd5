"""espeak-ng behind its door: the result depends on the arguments alone."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from sotaque import espeak
from sotaque.errors import InputError

CASES = ["pt-br+f1", "pt+f2", "es+whisper", "en-us+m1", "pt+croak"]


@pytest.mark.parametrize("voice", CASES)
def test_speech_does_not_depend_on_what_was_said_before(voice):
    first, rate_hz = espeak.speak("bom dia", voice)
    espeak.speak("something else entirely", "en+f5", rate_wpm=300, pitch=90)
    second, _ = espeak.speak("bom dia", voice)
    assert rate_hz == 22050
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


def test_speech_is_the_same_in_another_process():
    program = (
        "import hashlib; from sotaque import espeak;"
        "print(hashlib.sha256(espeak.speak('bom dia', 'pt+f2')[0].tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    here = hashlib.sha256(espeak.speak("bom dia", "pt+f2")[0].tobytes()).hexdigest()
    assert other.stdout.strip() == here


def test_variant_pitch_and_rate_are_heard():
    plain, _ = espeak.speak("bom dia", "pt")
    for other in (
        espeak.speak("bom dia", "pt+f3"),
        espeak.speak("bom dia", "pt", pitch=80),
        espeak.speak("bom dia", "pt", rate_wpm=300),
    ):
        assert not np.array_equal(plain[: len(other[0])], other[0][: len(plain)])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"voice": "xx-yy"}, "xx-yy"),
        ({"voice": "pt+nobody"}, "nobody"),
        ({"voice": "pt", "rate_wpm": 10}, "rate_wpm"),
        ({"voice": "pt", "pitch": 100}, "pitch"),
    ],
)
def test_a_wrong_argument_is_named(arguments, named):
    with pytest.raises(InputError, match=named):
        espeak.speak("bom dia", **arguments)


def test_importing_loads_no_library():
    program = "import sys, sotaque.espeak; print('espeakng_loader' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
