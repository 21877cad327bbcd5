"""Predicted MOS: the numbers of the upstream package, order under noise, and clips without sound."""

import os
import subprocess
import sys

import numpy as np
import pytest

import spoken
from sotaque import audio
from sotaque.metrics import mos, registry


@pytest.fixture(scope="module")
def predictor():
    return mos.OpinionPredictor()


@pytest.fixture(scope="module")
def speech():
    return audio.resample(spoken.wave(spoken.TEXTS[0], "pt-br+f1"), spoken.RATE_HZ, 16_000)


def test_same_numbers_as_the_upstream_function(predictor, speech):
    from speechmos import dnsmos

    theirs = dnsmos.run(speech, 16_000)
    ours = predictor.predict(speech, 16_000)
    assert ours == pytest.approx({name: float(theirs[key]) for name, key in mos.NAMES.items()}, abs=1e-4)
    assert ours == predictor.predict(speech, 16_000)


def test_noise_lowers_the_score(predictor, speech):
    noise = np.random.default_rng(0).normal(0, 0.1, len(speech)).astype(np.float32)
    clean, noisy = predictor.predict(speech, 16_000), predictor.predict(speech + noise, 16_000)
    assert noisy["mos"] < clean["mos"] - 0.3
    assert noisy["bak"] < clean["bak"] - 0.5


def test_samples_beyond_full_scale_are_clipped_not_refused(predictor, speech):
    assert 1 <= predictor.predict(speech * 20, 16_000)["mos"] <= 5


def test_clips_without_speech_have_no_score_and_count_as_the_worst(workplace):
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:2])]
    audio.write(workplace / "wav/tuned/t0.wav", spoken.wave(spoken.TEXTS[0], "pt-br+f1"), 24_000)
    scores = mos.score(spoken.context(test, []))
    assert [row["status"] for row in scores.rows] == ["ok", "failed"]
    assert scores.rows[1]["mos"] is None
    summary = registry.summarize(mos.METRIC, scores.rows)
    assert summary["mos"] == pytest.approx((scores.rows[0]["mos"] + 1) / 2)
    assert summary["p808"] == pytest.approx((scores.rows[0]["p808"] + 1) / 2)
    assert registry.summarize(mos.METRIC, scores.rows[1:])["mos"] == 1.0
    assert registry.summarize(mos.METRIC, [])["mos"] is None


def test_a_short_clip_is_repeated_to_nine_seconds_by_dnsmos_itself(predictor, speech):
    """So short clips need not be joined: what is scored is never short."""
    short = speech[:16_000]
    times = int(np.ceil(9.01 * 16_000 / len(short)))
    repeated = predictor.predict(np.tile(short, times), 16_000)
    assert predictor.predict(short, 16_000) == pytest.approx(repeated, abs=1e-6)


def test_how_many_are_heard_at_once_changes_no_score(workplace, monkeypatch):
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    for clip in test:
        audio.write(workplace / f"wav/tuned/{clip.id}.wav", spoken.wave(clip.text, "pt-br+f1"), 24_000)
    found = []
    for clips in (1, 3):
        monkeypatch.setattr(mos, "AT_ONCE", clips)
        found.append(mos.score(spoken.context(test, [])).rows)
    assert found[0] == found[1]
    assert [row["id"] for row in found[0]] == ["t0", "t1", "t2"]


@pytest.mark.parametrize("more", [0, 15])
def test_its_threads_let_others_go_first(more):
    code = f"""
import os, threading
from sotaque.metrics import mos
os.nice({more})
seen = []
def look():
    mos._step_aside()
    seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
thread = threading.Thread(target=look)
thread.start()
thread.join()
print(seen[0], os.getpriority(os.PRIO_PROCESS, 0))
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    thread, process = map(int, said.split())
    assert process == min(19, os.nice(0) + more)
    alone = sys.platform == "linux"  # elsewhere threads have no priority of their own
    assert thread == (max(mos.NICENESS, process) if alone else process)
