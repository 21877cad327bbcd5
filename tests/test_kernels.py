"""Compiled loops give the same bits whether they were just compiled or come from numba's cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ALL = """
import hashlib
import sys

import numpy as np
import torch

from sotaque.backends.orpheus import kernels
from sotaque.backends.orpheus.kernels import array
from sotaque.backends.orpheus.step import Step, serves

torch.set_num_threads(1)
torch.manual_seed(0)
if sys.argv[1] == "helpers first":
    kernels._softmax(np.ones(9, np.float32))
    kernels.exp(np.float32(1))
    kernels._highest(np.ones(9, np.float32))
    kernels._powers(np.ones(9, np.float32), np.float32(1))
    kernels.product(np.ones((4, 32), np.float32), np.ones((2, 32, 16), np.float32))


def say(name, *made):
    content = b"".join(np.ascontiguousarray(array(one)).tobytes() for one in made)
    print(name, hashlib.sha256(content).hexdigest())


for dtype in (torch.float32, torch.bfloat16):
    x, slope, weight = (torch.randn(*shape).to(dtype) for shape in ((200, 384), (200, 384), (384,)))
    into, factors = torch.empty_like(x), torch.empty(200)
    kernels.normed(array(x), array(weight), 1e-5, array(into), factors.numpy())
    say(f"{dtype} normed", into, factors)
    kernels.normed_slope(*map(array, (x, slope, x, weight, factors, into)))
    say(f"{dtype} normed_slope", into)
    gates = torch.randn(200, 768).to(dtype)
    kernels.gate(array(gates), array(into))
    say(f"{dtype} gate", into)
    by_gates = torch.empty_like(gates)
    kernels.gate_slope(*map(array, (slope, gates, by_gates)))
    say(f"{dtype} gate_slope", by_gates)
    made, cos, sin = torch.randn(200, 8, 32).to(dtype), torch.randn(200, 16), torch.randn(200, 16)
    queries, keys = torch.empty(2, 400, 32, dtype=dtype), torch.empty(2, 200, 32, dtype=dtype)
    kernels.turned(*map(array, (made, cos, sin, queries, keys)))
    say(f"{dtype} turned", queries, keys)
    by_made = torch.empty_like(made)
    kernels.turned_slope(*map(array, (queries, keys, 2 * keys, cos, sin, by_made)))
    say(f"{dtype} turned_slope", by_made)
    scores = 3 * torch.randn(2, 400, 200)
    narrow = torch.empty_like(scores, dtype=dtype)
    kernels.shares(scores.numpy(), 0.17, 2, array(narrow))
    say(f"{dtype} shares", scores, narrow)
    by_scores = torch.empty_like(narrow)
    kernels.shares_slope(torch.randn(2, 400, 200).numpy(), array(narrow), 0.17, 2, array(by_scores))
    say(f"{dtype} shares_slope", by_scores)
    shapes = (128, 64), (64, 64), (256, 64), (64, 128)
    weights = [[torch.randn(*shape).to(dtype) / 8 for shape in shapes] for _ in range(2)]
    if serves(weights[0][0]):
        turns = torch.polar(torch.ones(60, 8), torch.randn(60, 8))
        step = Step(list(zip(*weights)), torch.ones(5, 64), 1e-5, 0.25, [50] * 9, turns, 2)
        for layer in range(2):
            for row in range(9):
                step.fill(layer, row, torch.randn(4, 50, 16).to(dtype))
        say(f"{dtype} step", step(torch.randn(9, 64).to(dtype)))
"""


@pytest.fixture(scope="module")
def just_compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    return folder, said(folder, "")


def said(folder: Path, how: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", ALL, how]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_from_the_cache_they_give_the_same_bits(just_compiled):
    folder, expected = just_compiled
    assert len(expected) >= 17
    assert any(folder.rglob("*.nbc"))
    assert said(folder, "") == expected


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_called_before_changes_nothing(just_compiled, tmp_path, kept):
    folder, expected = just_compiled
    assert said(folder if kept else tmp_path, "helpers first") == expected
