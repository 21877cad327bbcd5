"""What `sotaque summary` prints."""

import pytest

from sotaque import files
from sotaque.evaluation import summary
from sotaque.metrics import failures
from sotaque.settings import Settings

NAMES = ("wer", "cer", "mos", "similarity", "rtf")
UNKNOWN = dict.fromkeys(f"{name}{end}" for name in NAMES for end in ("", "_low", "_high"))
NO_FAILURES = dict.fromkeys(failures.KINDS, 0)
NONE = UNKNOWN | {"clips": 0, "failed": 0, "failures": NO_FAILURES}
ROW = NONE | {"wer": 0.0789, "wer_low": 0.02, "wer_high": 0.15, "cer": 0.03, "mos": 2.2, "similarity": 0.86,
              "similarity_low": 0.8, "similarity_high": 0.9, "rtf": 0.4, "clips": 40, "failed": 3,
              "failures": NO_FAILURES | {"limit": 2, "silent": 1}}  # fmt: skip
DIFFERENCE = {name: dict.fromkeys(("value", "low", "high")) for name in NAMES}
METRICS = {
    "model": "micro",
    "systems": {"reference": ROW | {"rtf": None}, "tuned": ROW},
    "groups": {"novel-words": {"tuned": ROW | {"wer": 0.5}, "base": NONE}},
    "differences": {
        "tuned minus base": DIFFERENCE | {
            "wer": {"value": -0.5, "low": -0.6, "high": -0.42},
            "mos": {"value": 0.25, "low": None, "high": None},
        },
    },
    "targets": {
        "wer": {"target": 0.15, "value": 0.0789, "state": "met", "why": "it is so"},
        "mos": {"target": 3.5, "value": None, "state": "open", "why": "nothing was measured"},
        "similarity": {"target": 0.85, "value": 0.86, "state": "open", "why": "the interval holds it"},
        "rtf": {"target": 1.0, "value": 1.4, "state": "not met", "why": "on the wrong side"},
    },
    "checkpoint": {"step": 0, "reason": "the base is kept", "warnings": ["validation loss ended high"]},
}  # fmt: skip


def test_nothing_made_yet_says_what_to_run(workplace, capsys):
    assert summary.run(Settings()) == 1
    said = capsys.readouterr().out
    assert "results/micro/metrics.json: not made yet" in said
    assert "make demo" in said


def test_table_targets_and_report(workplace, capsys):
    files.write_json(workplace / "results/micro/metrics.json", METRICS)
    assert summary.run(Settings()) == 0
    said = capsys.readouterr().out
    assert "0.079" in said
    assert "0.020–0.150" in said
    assert "0.80–0.90" in said
    assert "3 (silent 1, limit 2)" in " ".join(said.replace("│", " ").split())
    assert all(len(line) <= 110 for line in said.splitlines() if "│" in line)
    assert "novel-words" in said
    assert "0.500" in said
    told = " ".join(said.split())
    assert "met: tuned WER 0.079, target < 0.15: it is so" in told
    assert "open: tuned MOS –, target > 3.5: nothing was measured" in told
    assert "not met: tuned RTF 1.400, target < 1: on the wrong side" in told
    assert "tuned minus base, paired, 95 % in brackets: WER −0.500 (−0.600 to −0.420)" in told
    assert "CER –; MOS +0.25; Similarity –; RTF –" in told
    assert "checkpoint: the base is kept\nwarning: validation loss ended high\n" in said
    assert "report: results/micro/report.html" in said
    assert "took" not in said


def test_systems_and_targets_stand_in_the_order_of_the_chain(workplace, capsys):
    """JSON sorts its keys; a reader wants the reference first and the tuned voice last."""
    row = dict.fromkeys(("tuned", "base", "codec", "reference"), ROW)
    files.write_json(workplace / "results/micro/metrics.json", METRICS | {"systems": row, "groups": {}})
    summary.run(Settings())
    said = capsys.readouterr().out
    places = [said.index(f"│ {system} ") for system in ("reference", "codec", "base", "tuned")]
    assert places == sorted(places)
    assert said.index("tuned WER") < said.index("tuned MOS")


def test_time_of_the_demonstration(workplace, capsys, monkeypatch):
    files.write_json(workplace / "results/micro/metrics.json", METRICS)
    files.write_text(workplace / "scratch/demo-started", "1000\n")
    monkeypatch.setattr(summary.time, "time", lambda: 1372.4)
    summary.run(Settings())
    assert "the demonstration took 6 min 12 s" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 min 00 s"), (59.6, "1 min 00 s"), (-5, "0 min 00 s")])
def test_elapsed(seconds, words):
    assert summary.elapsed(100.0, 100.0 + seconds).endswith(words)
