"""The rule by which a checkpoint is chosen, on tables that can be checked by hand."""

import pytest

from sotaque.settings import Targets
from sotaque.training.select import Candidate, choose

TARGETS = Targets(wer=0.15, similarity=0.85)


def heard(step, wer, similarity, unstopped=0.0):
    return Candidate(step, wer, similarity, duration_ratio=1.0, unstopped=unstopped, val_nats=None)


@pytest.mark.parametrize(("candidates", "step"), [
    ([heard(0, 0.1, 0.9), heard(50, 0.2, 0.9), heard(100, 0.1, 0.86), heard(150, 0.05, 0.95)], 100),
    ([heard(0, 0.1, 0.9), heard(50, 0.3, 0.7), heard(100, 0.2, 0.75), heard(150, 0.4, 0.8)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.9, 0.1)], 50),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, 0.7), heard(100, 0.2, 0.7)], 50),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, 0.8, unstopped=0.5), heard(100, 0.3, 0.7)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.2, None), heard(100, 0.5, 0.4)], 100),
    ([heard(0, 0.0, 1.0), heard(50, 0.15, 0.85), heard(100, 0.1, 0.99)], 100),
], ids=["earliest", "best-score", "never-the-base", "ties", "unstopped", "no-voice", "strictly"])  # fmt: skip
def test_the_rule(candidates, step):
    assert choose(candidates, TARGETS)[0].step == step


def test_the_reason_names_step_and_targets():
    _, met = choose([heard(0, 1, 0), heard(50, 0.1, 0.9)], TARGETS)
    assert met == "step 50 is the earliest with WER below 0.15 and similarity above 0.85"
    _, missed = choose([heard(0, 1, 0), heard(50, 0.9, 0.9)], TARGETS)
    assert missed.startswith("no checkpoint has WER below 0.15")
    assert "step 50 has the best score" in missed
