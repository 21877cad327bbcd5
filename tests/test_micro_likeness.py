"""The distance of voices that the codec is trained with is Resemblyzer's own, and has a gradient."""

import numpy as np
import pytest
import soxr
import torch

from sotaque.metrics.similarity import SpeakerEncoder, cosine
from sotaque.micro import speech
from sotaque.micro.likeness import JUDGED_HZ, RATE_HZ, VoiceDistance
from sotaque.micro.voices import BASE

SAMPLES = RATE_HZ * 3 // 2


@pytest.fixture(scope="module")
def distance() -> VoiceDistance:
    return VoiceDistance()


def said(voice) -> np.ndarray:
    samples = speech.render(voice, "um dois três quatro cinco seis sete oito")
    return samples[:SAMPLES]


def waves(*clips: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(clips))[:, None]


def test_embeddings_are_those_of_resemblyzer(distance):
    import resemblyzer

    clip = said(BASE[0])
    mel = resemblyzer.audio.wav_to_mel_spectrogram(soxr.resample(clip, RATE_HZ, JUDGED_HZ))
    theirs = SpeakerEncoder().encoder(torch.from_numpy(mel)[None])[0].detach().numpy()
    assert cosine(theirs, distance.embed(waves(clip))[0].numpy()) > 0.999


def test_a_voice_is_nearer_to_itself_than_to_another(distance):
    one, other = said(BASE[0]), said(BASE[1])
    assert distance(waves(one), waves(one)).item() == pytest.approx(0, abs=1e-5)
    assert distance(waves(one * 0.9), waves(one)) < 0.5 * distance(waves(other), waves(one))


def test_following_the_gradient_brings_a_clip_nearer(distance):
    one, other = said(BASE[0]), said(BASE[1])
    spoken = waves(other).requires_grad_(True)
    before = distance(spoken, waves(one))
    before.backward()
    with torch.no_grad():
        after = distance(spoken - 0.002 * spoken.grad / spoken.grad.abs().mean(), waves(one))
    assert after < before
