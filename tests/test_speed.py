"""Real-time factor: what is timed, what is counted, and what has none."""

import dataclasses

import pytest
import torch

import spoken
import tiny
from sotaque import model_spec
from sotaque.metrics import registry, speed
from sotaque.settings import Evaluate, Settings


@pytest.fixture
def context(workplace):
    tiny.base(spoken.BASE, tiny.SMALL)
    tiny.network(spoken.MERGED, tiny.SMALL, seed=1)
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS)]
    test.append(spoken.utterance("novel", "A jabuticaba sumiu.", group="novel-words"))
    spoken.short_generation(max_s=0.1)
    wanted = dataclasses.replace(Settings(), evaluate=Evaluate(speed_clips=2))
    return spoken.context(test, [], "tuned", spec=model_spec.read("micro"), settings=wanted)


def rtf(rows):
    return registry.summarize(speed.METRIC, rows)["rtf"]


def test_rtf_is_all_computing_over_all_audio():
    rows = [
        {"id": name, "speaker": "a", "status": "ok", "compute_s": compute_s, "audio_s": audio_s}
        for name, compute_s, audio_s in (("x", 1.0, 4.0), ("y", 2.0, 2.0), ("z", 1.0, 0.0))
    ]
    assert rtf(rows[:2]) == pytest.approx(0.5)
    assert rtf([]) is None
    assert rtf(rows[2:]) is None


def test_recordings_have_no_speed(context):
    scores = speed.score(dataclasses.replace(context, system="reference"))
    assert scores.rows == []
    assert rtf(scores.rows) is None


@pytest.mark.parametrize("system", ["codec", "base", "tuned"])
def test_a_few_headline_clips_are_timed(context, system):
    scores = speed.score(dataclasses.replace(context, system=system))
    assert len(scores.rows) == 2
    assert all(row["compute_s"] > 0 and row["group"] == "" for row in scores.rows)
    assert scores.method["threads"] == torch.get_num_threads()
    assert scores.method["hardware"]
    assert scores.method["precision"] in ("float32", "bfloat16")


def test_codec_audio_is_as_long_as_the_recordings(context):
    scores = speed.score(dataclasses.replace(context, system="codec"))
    durations = {u.id: u.duration_s for u in context.utterances}
    for row in scores.rows:
        assert row["audio_s"] == pytest.approx(durations[row["id"]])


def test_the_first_item_is_said_once_more_for_warming_up():
    said = []
    rows = speed.timed(lambda item: said.append(item) or 2.0, ["a", "b"])
    assert said == ["a", "a", "b"]
    assert [row["audio_s"] for row in rows] == [2.0, 2.0]
    assert speed.timed(lambda item: said.append(item) or 2.0, []) == []
