"""Speaker similarity: own voice above another's, the judged clip left out, silence without a voice."""

from pathlib import Path

import numpy as np
import pytest

import spoken
from sotaque.metrics import similarity
from sotaque.metrics.context import Context
from sotaque.settings import Settings


@pytest.fixture(scope="module")
def encoder():
    return similarity.SpeakerEncoder()


def test_cosine_by_hand():
    assert similarity.cosine(np.array([1.0, 0]), np.array([2.0, 0])) == pytest.approx(1.0)
    assert similarity.cosine(np.array([1.0, 0]), np.array([0, 3.0])) == pytest.approx(0.0)
    assert similarity.cosine(np.array([3.0, 4]), np.array([4.0, 3])) == pytest.approx(24 / 25)


def test_same_embedding_as_upstream(encoder):
    import resemblyzer
    import soxr

    samples = spoken.wave(spoken.TEXTS[0], "pt-br+f1")
    ours = encoder.embed(samples, spoken.RATE_HZ)
    at_16k = soxr.resample(samples, spoken.RATE_HZ, 16_000)
    theirs = encoder.encoder.embed_utterance(resemblyzer.preprocess_wav(at_16k))
    assert np.array_equal(ours, theirs)
    assert ours.shape == (256,)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(16_000), np.full(100, 0.1)])
def test_no_voice_no_embedding(encoder, samples):
    assert encoder.embed(samples, 16_000) is None


class Lookup:
    """Embeddings given by hand for files: the geometry without the network."""

    def __init__(self, vectors):
        self.vectors = iter(vectors)

    def embed(self, _wave, _rate_hz):
        return next(self.vectors)


def test_voice_is_the_mean_without_the_judged_clip(workplace):
    clips = [spoken.utterance(f"c{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    ordered = similarity.hash_order(clips)
    axes = np.eye(3)
    voices = similarity.Voices(clips, 3, Lookup(axes))
    assert voices.similarity(axes[0], "iara") == pytest.approx(1 / np.sqrt(3))
    assert voices.similarity(axes[0], "iara", without=ordered[0].id) == pytest.approx(0.0)
    assert voices.similarity(axes[0], "nobody") is None
    assert voices.to_others(axes[0], "iara") is None
    only = similarity.Voices(clips, 1, Lookup(axes))
    assert only.similarity(axes[0], "iara") == pytest.approx(1.0)
    assert only.similarity(axes[0], "iara", without=ordered[0].id) is None


def test_hash_order_keeps_its_order_when_clips_are_added(workplace):
    clips = [spoken.utterance(f"c{i}", "sim") for i in range(6)]
    few = similarity.hash_order(clips[:3])
    assert [c for c in similarity.hash_order(reversed(clips)) if c in few] == few


def two_speakers() -> Context:
    train = [spoken.utterance(f"{s}{i}", t, s) for s in spoken.VOICES for i, t in enumerate(spoken.TEXTS[:3])]
    test = [spoken.utterance(f"{s}-test", spoken.TEXTS[3], s) for s in spoken.VOICES]
    return spoken.context(test, train, "reference", wav=Path("data/wav/00"))


def test_recordings_are_nearer_to_their_own_speaker(workplace):
    context = two_speakers()
    scores = similarity.score(context)
    for row in scores.rows:
        assert row["similarity"] > row["other_speakers"] + 0.1
    summary = similarity.summarize(scores.rows, Settings())
    assert summary["similarity"] == pytest.approx(np.mean([r["similarity"] for r in scores.rows]))
    assert summary["similarity_low"] <= summary["similarity"] <= summary["similarity_high"]


def test_speakers_without_training_clips_are_judged_by_their_other_recordings(workplace):
    context = two_speakers()
    test = [u for u in context.train if u.speaker == "rui"]
    train = [u for u in context.train if u.speaker == "iara"]
    changed = spoken.context(test, train, "reference", wav=context.wav)
    rows = similarity.score(changed).rows
    assert all(0.5 < row["similarity"] < 0.9999 for row in rows)
    single = spoken.context(test[:1], train, "reference", wav=context.wav)
    assert similarity.score(single).rows[0]["similarity"] is None
