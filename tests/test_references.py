"""The clip with which a finished voice is spoken: long enough, near 10 s, the same one each time."""

from pathlib import Path

import numpy as np
import pytest

import tiny
from sotaque import audio
from sotaque.backends.references import References
from sotaque.errors import InputError
from sotaque.manifest import Utterance


class Listener:
    """A family that hears at 12 kHz and makes one code of a thousand samples."""

    wants_reference, shortest_reference_s, sample_rate_hz = True, 1.0, 12_000

    def encode(self, waves):
        return [np.full((len(wave) // 1000, 1), 7, np.int16) for wave in waves]


class Deaf(Listener):
    wants_reference = False


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    for name, speaker, duration_s in (
        ("x", "ana", 8.0),
        ("w", "ana", 12.0),
        ("v", "ana", 0.5),
        ("u", "zé", 0.9),
    ):
        audio.write(Path(f"{name}.wav"), tiny.wave(duration_s, 0), tiny.RATE_HZ)
        made.append(Utterance(name, f"{name}.wav", f"text of {name}", speaker, "pt", duration_s=duration_s))
    return made


def test_the_clip_nearest_to_ten_seconds_is_taken_the_lower_id_of_equals(recordings):
    found = References(Listener(), recordings).of("ana")
    assert (found.text, found.audio) == ("text of w", Path("w.wav"))
    assert found.codes.tolist() == [[7]] * (12 * 12)
    assert References(Listener(), recordings[::-1]).of("ana").audio == found.audio


def test_the_prompt_has_text_speaker_language_and_reference(recordings):
    prompt = References(Listener(), recordings).prompt(recordings[0])
    assert (prompt.text, prompt.speaker, prompt.language) == ("text of x", "ana", "pt")
    assert prompt.reference.text == "text of w"
    assert References(Deaf(), recordings).prompt(recordings[3]).reference is None


@pytest.mark.parametrize(("speaker", "longest"), [("zé", "0.9"), ("eva", "0.0")])
def test_a_speaker_without_a_clip_that_is_long_enough_is_named(recordings, speaker, longest):
    told = f"speaker '{speaker}' has no training clip of 1 s or more .*the longest has {longest} s"
    with pytest.raises(InputError, match=told):
        References(Listener(), recordings).of(speaker)
