"""Clips are told to be by their own voice, from other words, without a network."""

import numpy as np

from sotaque.micro import cepstrum, speech
from sotaque.micro.voices import BASE

TEXTS = ("um dois três quatro", "a casa fica perto do mar", "hoje vai chover à noite", "quero um café")


def test_each_voice_is_nearest_to_itself_in_words_that_were_not_measured():
    spoken = {
        voice.speaker: [cepstrum.statistics(speech.render(voice, text), speech.RATE_HZ) for text in TEXTS]
        for voice in BASE[:4]
    }
    known = cepstrum.Voices({name: clips[1:] for name, clips in spoken.items()})
    assert {name: known.nearest(clips[0]) for name, clips in spoken.items()} == {
        name: name for name in spoken
    }


def test_loudness_does_not_count():
    samples = speech.render(BASE[0], TEXTS[0])
    louder = cepstrum.statistics(samples * 2, speech.RATE_HZ)
    assert np.allclose(louder, cepstrum.statistics(samples, speech.RATE_HZ), atol=0.5)


def test_numbers_that_vary_within_voices_count_less():
    steady = {
        "a": [np.array([0.0, -9.0]), np.array([0.1, 9.0])],
        "b": [np.array([2.0, -9.0]), np.array([2.1, 9.0])],
    }
    assert cepstrum.Voices(steady).nearest(np.array([0.2, 30.0])) == "a"
