"""Predicted mean opinion score: DNSMOS (Reddy et al. 2022, ITU-T P.835), by the models inside `speechmos`.

OVRL is the headline; SIG (speech), BAK (background) and P.808 (an older, single scale) stand beside it.
Trained on noisy real recordings: a number means little alone, its distance to the reference's a lot.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio
from sotaque.manifest import Utterance
from sotaque.metrics import bootstrap
from sotaque.metrics.context import RATE_HZ, Context, Scores
from sotaque.progress import track
from sotaque.settings import Settings

AT_ONCE = 2  # clips; no score depends on it, and the slowest metric is often the last, beside an idle core
NICENESS = 10  # of 19: while a training runs it may take back what these threads take
NAMES = {"mos": "ovrl_mos", "sig": "sig_mos", "bak": "bak_mos", "p808": "p808_mos"}


class OpinionPredictor:
    """DNSMOS on the CPU, a clip on one thread, so that the same wave has the same score everywhere."""

    def __init__(self):
        import onnxruntime
        from speechmos import dnsmos

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        models = Path(dnsmos.__file__).parent / "dnsmos_models"

        def session(name: str) -> Any:
            return onnxruntime.InferenceSession(models / name, options, providers=["CPUExecutionProvider"])

        self.scorer = dnsmos.DNSMOS.__new__(dnsmos.DNSMOS)
        self.scorer.onnx_sess = session("sig_bak_ovr.onnx")
        self.scorer.p808_onnx_sess = session("model_v8.onnx")

    def predict(self, wave: np.ndarray, rate_hz: int) -> dict[str, float]:
        """mos, sig, bak, p808 of a wave (T,), each 1..5; short waves are repeated to 9 s, as DNSMOS does."""
        samples = np.clip(audio.resample(np.asarray(wave, np.float32), rate_hz, RATE_HZ), -1.0, 1.0)
        found = self.scorer(samples, RATE_HZ, False)
        return {name: float(found[theirs]) for name, theirs in NAMES.items()}


def score(context: Context) -> Scores:
    predictor, chosen = OpinionPredictor(), context.utterances

    def numbers(utterance: Utterance) -> dict[str, float] | None:
        wave = context.wave(utterance)
        return None if wave is None else predictor.predict(wave, RATE_HZ)

    with ThreadPoolExecutor(AT_ONCE, initializer=_step_aside) as pool:
        found = track(pool.map(numbers, chosen), f"mos of {context.system}", len(chosen))
        rows = [
            context.row(utterance, failed=one is None) | (one or dict.fromkeys(NAMES))
            for utterance, one in zip(chosen, found, strict=True)
        ]
    return Scores(rows, {"predictor": "DNSMOS P.835 (speechmos), OVRL", "over": "clips with sound"})


def _step_aside() -> None:
    """Let other work go before this thread, where threads have a priority of their own."""
    if sys.platform == "linux":
        lowest = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))  # what is lower may not be raised
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lowest)


def summarize(rows: Sequence[dict[str, Any]], settings: Settings) -> dict[str, float | None]:
    """Means over the clips that have sound, with the 95 % interval of OVRL."""
    spoken = [row for row in rows if row["mos"] is not None]
    ones = np.ones(len(spoken))
    means = {name: bootstrap.ratio([row[name] for row in spoken], ones) for name in NAMES}
    values = [row["mos"] for row in spoken]
    low, high = bootstrap.interval(values, ones, settings.evaluate.bootstrap_samples, settings.seed)
    return means | {"mos_low": low, "mos_high": high}
