"""Speaker similarity: own voice above another's, the judged clip left out, silence without a voice."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import spoken
from sotaque import audio
from sotaque.metrics import registry, similarity
from sotaque.metrics.context import Context


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
    """Embeddings given by hand for files: the geometry without the network. Each file holds 2 s of speech."""

    def __init__(self, vectors):
        self.vectors = iter(vectors)

    def speech(self, _wave, _rate_hz):
        return np.ones(32_000)

    def embed_speech(self, _speech):
        return next(self.vectors)


def test_voice_is_the_mean_without_the_judged_clip(workplace):
    clips = [spoken.utterance(f"c{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    ordered = similarity.hash_order(clips)
    axes = np.eye(3)
    voices = similarity.Voices(clips, 3, Lookup(axes))
    assert voices.similarity(axes[0], "iara") == pytest.approx(1 / np.sqrt(3))
    assert voices.similarity(axes[0], "iara", without=[ordered[0].id]) == pytest.approx(0.0)
    assert voices.similarity(axes[0], "nobody") is None
    assert voices.to_others(axes[0], "iara") is None
    only = similarity.Voices(clips, 1, Lookup(axes))
    assert only.similarity(axes[0], "iara") == pytest.approx(1.0)
    assert only.similarity(axes[0], "iara", without=[ordered[0].id]) is None


@pytest.mark.parametrize(
    ("lengths_s", "groups"),
    [
        ({"a": 2.0, "b": 1.5}, [["a"], ["b"]]),
        ({"a": 0.5, "b": 3.0, "c": 0.5, "d": 0.5}, [["a", "c", "d"], ["b"]]),  # 1.5 s, b stays alone
        ({"a": 0.8, "b": 0.8, "c": 0.9, "d": 0.9}, [["a", "b"], ["c", "d"]]),
        ({"a": 0.8, "b": 0.8, "c": 0.3}, [["a", "b", "c"]]),  # the rest joins the last of the short ones
        ({"a": 3.0, "b": 2.0, "c": 0.3}, [["a"], ["b", "c"]]),  # else the shortest long clip
        ({"a": 0.4, "b": 0.3}, [["a", "b"]]),  # there is no more speech
        ({"a": 0.0, "b": 2.0, "c": 0.0}, [["b"]]),
        ({}, []),
    ],
)
def test_short_clips_are_joined_and_none_is_dropped(lengths_s, groups):
    assert similarity.join(lengths_s) == groups
    assert similarity.join(dict(reversed(lengths_s.items()))) == groups, "the order given does not matter"
    assert sorted(name for group in groups for name in group) == sorted(
        name for name, length_s in lengths_s.items() if length_s
    )


def test_short_recordings_of_a_voice_are_joined_too(workplace, encoder):
    clips = [spoken.utterance(f"c{i}", "Sim.") for i in range(6)]
    [voice] = similarity.Voices(clips, 10, encoder).vectors.values()
    assert all(len(names) > 1 for names in voice)
    assert sum(map(len, voice)) == len({name for names in voice for name in names})


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
    summary = registry.summarize(similarity.METRIC, scores.rows)
    assert summary["similarity"] == pytest.approx(np.mean([r["similarity"] for r in scores.rows]))
    assert summary["other_speakers"] == pytest.approx(np.mean([r["other_speakers"] for r in scores.rows]))


def pieces(samples: np.ndarray, duration_s: float) -> list[np.ndarray]:
    """Speech at 24 kHz cut into clips of so many seconds."""
    size = round(duration_s * spoken.RATE_HZ)
    return [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]


def test_similarity_of_short_clips_is_that_of_long_ones(workplace, encoder):
    """One voice in clips of 0.4 s: alone their level is another one, joined it is that of the whole."""
    train = [spoken.utterance(f"train{i}", text) for i, text in enumerate(spoken.TEXTS[:2])]
    speech = np.concatenate([spoken.wave(text, "pt-br+f1") for text in spoken.TEXTS[2:] * 2])
    test = []
    for number, piece in enumerate(pieces(speech, 0.4)):
        test.append(dataclasses.replace(train[0], id=f"t{number:02d}"))
        audio.write(Path(f"wav/tuned/t{number:02d}.wav"), piece, spoken.RATE_HZ)
    scores = similarity.score(spoken.context(test, train))
    spoken_rows = [row for row in scores.rows if row["status"] == "ok"]
    assert len(scores.rows) == len(test)
    assert scores.method["joined_clips"] == len(spoken_rows) == 10
    voices = similarity.Voices(train, 10, encoder)
    whole = voices.similarity(encoder.embed(speech, spoken.RATE_HZ), "iara")
    alone = [
        voices.similarity(vector, "iara")
        for piece in pieces(speech, 0.4)
        if (vector := encoder.embed(piece, spoken.RATE_HZ)) is not None
    ]
    joined = registry.summarize(similarity.METRIC, spoken_rows)["similarity"]
    assert abs(joined - whole) < 0.06
    assert abs(np.mean(alone) - whole) > 2 * abs(joined - whole)


def test_a_clip_without_a_voice_counts_as_zero(workplace):
    train = [spoken.utterance(f"train{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:2])]
    audio.write(Path("wav/tuned/t0.wav"), audio.read(Path(test[0].audio))[0], spoken.RATE_HZ)
    audio.write(Path("wav/tuned/t1.wav"), np.zeros(48_000, np.float32), spoken.RATE_HZ)
    rows = similarity.score(spoken.context(test, train)).rows
    assert [row["status"] for row in rows] == ["ok", "failed"]
    summary = registry.summarize(similarity.METRIC, rows)
    assert summary["similarity"] == pytest.approx(rows[0]["similarity"] / 2)


def test_speakers_without_training_clips_are_judged_by_their_other_recordings(workplace):
    context = two_speakers()
    test = [u for u in context.train if u.speaker == "rui"]
    train = [u for u in context.train if u.speaker == "iara"]
    changed = spoken.context(test, train, "reference", wav=context.wav)
    rows = similarity.score(changed).rows
    assert all(0.5 < row["similarity"] < 0.9999 for row in rows)
    single = spoken.context(test[:1], train, "reference", wav=context.wav)
    assert similarity.score(single).rows[0]["similarity"] is None
