"""Predicted mean opinion score: DNSMOS (Reddy et al. 2022, ITU-T P.835), by the models inside `speechmos`.

OVRL is the headline; SIG (speech), BAK (background) and P.808 (an older, single scale) stand beside it.
Trained on noisy real recordings: a number means little alone, its distance to the reference's a lot. DNSMOS
repeats a clip that is shorter than 9 s to 9 s, so short clips are scored one by one and not joined.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sotaque import audio
from sotaque.manifest import Utterance
from sotaque.metrics.context import RATE_HZ, Context, Scores
from sotaque.metrics.registry import Column, Mean, Metric, Reading
from sotaque.progress import track

AT_ONCE = 2  # clips; no score depends on it, and the slowest metric is often the last, beside an idle core
NICENESS = 10  # of 19: while a training runs it may take back what these threads take
SCALE = WORST, BEST = 1.0, 5.0  # a clip without speech counts as the worst
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
    return Scores(rows, {"predictor": "DNSMOS P.835 (speechmos), OVRL"})


def _step_aside() -> None:
    """Let other work go before this thread, where threads have a priority of their own."""
    if sys.platform == "linux":
        lowest = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))  # what is lower may not be raised
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lowest)


def describe(method: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "MOS",
            f"{method['predictor']}, mean over all clips; it repeats a clip under 9 s to 9 s; "
            f"a clip without speech counts as {WORST:g}",
        )
    ]


def explain(reading: Reading) -> str:
    value, target = reading.figures["mos"], reading.targets.mos
    beside = (
        f"; it gives the recordings themselves {value:.2f}, so judge the other rows beside that"
        if value is not None
        else ""
    )
    demonstration = (
        " The recordings of the demonstration are espeak-ng, a formant synthesiser that DNSMOS does not take "
        f"for a person: a target of {target:g} is out of reach for a model that learns to sound like it, and "
        "missing it says nothing about the adaptation."
    )
    return (
        "MOS is predicted by DNSMOS, which was trained on listeners' votes of noisy and denoised recordings "
        f"of people{beside}.{demonstration if reading.is_synthetic else ''}"
    )


METRIC = Metric(
    columns=(
        Column("mos", "MOS", Mean("mos", WORST, SCALE), "higher", unit="of 5", target="mos", headline=True,
               clip_field="mos"),
        *(Column(name, name.upper(), Mean(name, WORST, SCALE), "higher", unit="of 5", in_tables=False)
          for name in NAMES if name != "mos"),
    ),
    score=score,
    describe=describe,
    explain=explain,
)  # fmt: skip
