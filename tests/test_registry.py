"""One file and one line: a metric registered at run time is in every place where metrics are."""

import json
import sys
import types
from pathlib import Path

import pytest

import pages
import test_report
from sotaque import files, jobs, settings
from sotaque.evaluation import evaluate, summary
from sotaque.metrics import METRICS, mos, registry, similarity, targets
from sotaque.metrics.context import Scores
from sotaque.metrics.intervals import Interval
from sotaque.metrics.registry import Column, Mean, Metric, Ratio
from sotaque.settings import Settings
from sotaque.training import mlflow_runs
from test_report import tree  # noqa: F401 - a fixture

PACE = Metric(
    columns=(
        Column(
            "pace", "Pace", Mean("words_per_s", 0.0), "higher", unit="words/s", digits=1, headline=True,
            clip_field="words_per_s",
        ),
        Column("pause", "Pause share", Ratio("pause_s", "audio_s"), "lower", digits=3),
    ),
    score=lambda context: Scores(
        [
            context.row(u) | {"words_per_s": len(u.text.split()) / 2, "pause_s": 0.5, "audio_s": 2.0}
            for u in context.utterances
        ],
        {"clock": "a sundial"},
    ),
    describe=lambda method: [("Pace", f"by {method['clock']}")],
    explain=lambda reading: f"The recordings have a pace of {reading.figures['pace']:.1f}.",
)  # fmt: skip


@pytest.fixture
def pace(monkeypatch):
    """The file and the line."""
    module = types.ModuleType("sotaque.metrics.pace")
    module.METRIC = PACE
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("sotaque.metrics.pace", module, raising=False)
    METRICS.append("pace")
    yield
    METRICS.remove("pace")


@pytest.fixture
def results(tree, pace):  # noqa: F811
    """The report's working folder, and the new metric's files as `evaluate` writes them."""
    for system in test_report.SYSTEMS:
        context = test_report.context(system)
        value = evaluate.measure(context, "pace")
        files.write_json(Path(f"results/micro/{system}/pace.json"), value)
    return tree


def test_a_new_metric_is_a_job_of_every_system(pace):
    names = {job.name for job in jobs.of(Settings())}
    assert {f"evaluate-{system}-pace" for system in test_report.SYSTEMS} <= names


def test_a_new_metric_is_in_metrics_headline_tracker_and_differences(results):
    headline, metrics, _ = test_report.run()
    words = [len(u.text.split()) for u in test_report.context("tuned").utterances if not u.group]
    pace = sum(words) / 2 / len(words)
    for row in metrics["systems"].values():
        assert row["pace"] == pytest.approx(pace)
        assert row["pause"] == pytest.approx(0.25)
        assert {"pace_low", "pace_high", "pause_low", "pause_high"} <= set(row)
        assert {"pace", "pause"} <= set(row["intervals"])
    assert headline["tuned_pace"] == pytest.approx(pace)
    assert "tuned_pause" not in headline
    assert metrics["differences"]["tuned minus codec"]["pace"]["value"] == 0.0
    assert mlflow_runs._headline(metrics)["tuned.pause"] == pytest.approx(0.25)


def test_a_new_metric_is_on_the_page(results):
    page = test_report.run()[2]
    reader = pages.Reader(page)
    text = reader.words()
    assert "Pace ↑ words/s Pause share ↓" in text
    assert "Pace by a sundial" in text
    assert "The recordings have a pace of" in text
    assert [option["value"] for option in reader.of("option")].count("tuned-pace") == 1
    keys = [json.loads(row["data-keys"]) for row in reader.of("tr") if "data-keys" in row]
    assert all(row["tuned-pace"] is not None for row in keys)


def test_a_new_metric_is_in_the_summary(results, capsys):
    test_report.run()
    assert summary.run(Settings()) == 0
    said = capsys.readouterr().out
    assert "Pace" in said
    assert "0.250" in said
    assert "Pause share +0.000" in " ".join(said.split())


def test_every_column_of_every_metric_is_declared_well():
    names = [column.name for name in METRICS for column in registry.get(name).columns]
    assert len(names) == len(set(names))
    known = set(settings.Targets.__dataclass_fields__)
    assert {column.target for _, column in registry.columns() if column.target} == known


def rows(values, field="value", **more):
    """A row per value; None is a clip without speech."""
    return [
        {"id": f"c{i:02d}", "speaker": "a", "status": "ok" if value is not None else "failed", field: value}
        | {key: column[i] for key, column in more.items()}
        for i, value in enumerate(values)
    ]


MEAN = Column("value", "Value", Mean("value", 0.0), "higher")


def one(column, rows):
    return registry.summarize(Metric((column,), None, None), rows)


def test_a_mean_counts_a_clip_without_speech_as_declared():
    assert one(MEAN, rows([0.9, 0.7, None, None]))["value"] == pytest.approx(0.4)
    unmeasured = rows([0.9, 0.7, None])
    unmeasured[2]["status"] = "ok"
    assert one(MEAN, unmeasured)["value"] == pytest.approx(0.8), "with speech, but not measured: left out"


def test_a_ratio_is_of_sums():
    column = Column("rate", "Rate", Ratio("errors", "words"), "lower")
    assert one(column, rows([1, 0], "errors", words=[1, 9]))["rate"] == pytest.approx(1 / 10)


def test_nothing_measured_has_neither_value_nor_interval_and_says_so():
    found = one(MEAN, [])
    assert (found["value"], found["value_low"], found["value_high"]) == (None, None, None)
    assert "nothing was measured" in found["intervals"]["value"]


def test_clips_that_were_joined_are_one_observation(monkeypatch):
    """Four clips, two of them joined: three values of which one weighs two."""
    seen = []
    monkeypatch.setattr(
        registry.intervals,
        "ratio_interval",
        lambda *arguments: seen.append(arguments[:3]) or Interval(None, None, ""),
    )
    joined = rows([0.9, 0.5, 0.5, 0.7], unit=["c00", "c01", "c01", "c03"])
    assert one(MEAN, joined)["value"] == pytest.approx(2.6 / 4)
    assert seen == [([0.9, 1.0, 0.7], [1.0, 2.0, 1.0], ["a"] * 3)]


def test_pairs_join_what_either_side_joined(monkeypatch):
    """Left joined 1 and 2, right 2 and 3: the three are one observation of the difference."""
    seen = []
    monkeypatch.setattr(
        registry.intervals,
        "paired_ratio_interval",
        lambda *arguments: seen.append(arguments[:5]) or Interval(None, None, ""),
    )
    left = rows([1.0, 2.0, 2.0, 4.0], unit=["c00", "c01", "c01", "c03"])
    right = rows([1.0, 1.0, 3.0, 3.0], unit=["c00", "c01", "c02", "c02"])
    found = registry.difference(MEAN, left, right)
    assert found["value"] == pytest.approx(9 / 4 - 8 / 4)
    assert seen == [([1.0, 8.0], [1.0, 3.0], [1.0, 7.0], [1.0, 3.0], ["a", "a"])]


def test_a_difference_is_over_the_clips_that_both_have():
    left, right = rows([1.0, 2.0, 6.0]), rows([1.0, 1.0])
    found = registry.difference(MEAN, left, right)
    assert (found["value"], found["clips"]) == (pytest.approx(0.5), 2)


def test_eighteen_silent_clips_of_twenty_meet_no_target():
    """The two that have sound are good: their mean alone would meet both targets."""
    silent = [None] * 18
    opinions = [
        row | dict.fromkeys(("sig", "bak", "p808"), row["mos"]) for row in rows([4.2, 4.2, *silent], "mos")
    ]
    voices = rows([0.91, 0.91, *silent], "similarity", other_speakers=[None] * 20)
    for metric, found, mean in ((mos, opinions, (2 * 4.2 + 18) / 20), (similarity, voices, 2 * 0.91 / 20)):
        figures = registry.summarize(metric.METRIC, found)
        column = metric.METRIC.columns[0]
        assert figures[column.name] == pytest.approx(mean)
        verdict = targets.judge(column, getattr(Settings().targets, column.target), figures)
        assert verdict["state"] == "not met"
