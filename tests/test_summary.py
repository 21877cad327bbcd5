"""What `sotaque summary` prints."""

import pytest

from sotaque import files
from sotaque.evaluation import summary
from sotaque.settings import Settings

ROW = {"wer": 0.0789, "wer_low": 0.02, "wer_high": 0.15, "cer": 0.03, "mos": 2.2, "similarity": 0.86,
       "rtf": 0.4, "clips": 40, "failed": 1}  # fmt: skip
NONE = dict.fromkeys(ROW) | {"clips": 0, "failed": 0}
METRICS = {
    "model": "micro",
    "systems": {"reference": ROW | {"rtf": None}, "tuned": ROW},
    "groups": {"novel-words": {"tuned": ROW | {"wer": 0.5}, "base": NONE}},
    "targets": {"wer": {"target": 0.15, "value": 0.0789, "pass": True},
                "mos": {"target": 3.5, "value": None, "pass": False}},
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
    assert "0.079 (0.02–0.15)" in said
    assert "novel-words" in said
    assert "0.500" in said
    assert "met      tuned WER 0.079, target < 0.15" in said
    assert "not met  tuned MOS –, target > 3.5" in said
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
