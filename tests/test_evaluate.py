"""The four metrics through the stage's own door: rows, headline, groups, and equal bytes twice."""

import json
from pathlib import Path

import pytest

import spoken
import tiny
from sotaque import audio, files
from sotaque.evaluation import evaluate, synthesize
from sotaque.settings import Settings

TUNED = Path("results/micro/wav/tuned")


@pytest.fixture
def tree(workplace):
    """Two headline clips, one of a group; the tuned system said two of the three."""
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:2])]
    test.append(spoken.utterance("novel", spoken.TEXTS[2], group="novel-words"))
    spoken.splits(test, [spoken.utterance("train", spoken.TEXTS[3])])
    tiny.base(spoken.BASE, tiny.SMALL)
    tiny.network(spoken.MERGED, tiny.SMALL, seed=1)
    spoken.whisper(spoken.BASE / "asr")
    spoken.short_generation(max_s=0.1)
    for utterance in (test[0], test[2]):
        audio.write(TUNED / f"{utterance.id}.wav", spoken.wave(utterance.text, "pt-br+f1"), spoken.RATE_HZ)
    return workplace


def run(metric: str, out: str = "results/micro/tuned") -> tuple[dict, dict, bytes]:
    figures = evaluate.run(
        Settings(), model=Path("workflow/models/micro.yaml"), splits=Path("data/splits"), base=spoken.BASE,
        network=spoken.MERGED, wav=TUNED, system="tuned", metric=metric, out=Path(out) / metric,
    )  # fmt: skip
    path = Path(out) / f"{metric}.json"
    return figures, files.read_json(path), path.read_bytes()


@pytest.mark.parametrize("metric", ["wer", "mos", "similarity"])
def test_every_clip_has_a_row_and_groups_stay_out_of_the_headline(tree, metric):
    figures, value, content = run(metric)
    assert {row["id"]: row["status"] for row in value["rows"]} == {"t0": "ok", "t1": "failed", "novel": "ok"}
    assert (value["summary"]["clips"], value["summary"]["without_speech"]) == (2, 1)
    novel = value["groups"]["novel-words"]
    assert (novel["clips"], novel["without_speech"]) == (1, 0)
    assert {row["speaker"] for row in value["rows"]} == {"iara"}
    assert value["summary"][metric] is not None
    assert figures == {k: v for k, v in value["summary"].items() if v is not None and k != "intervals"}
    assert run(metric, "again")[2] == content
    assert str(tree) not in content.decode()


def test_headline_wer_is_of_the_headline_rows(tree):
    _, value, _ = run("wer")
    rows = [row for row in value["rows"] if row["id"] != "novel"]
    errors = sum(row["substitutions"] + row["deletions"] + row["insertions"] for row in rows)
    assert value["summary"]["wer"] == pytest.approx(errors / sum(row["words"] for row in rows))
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["wer"], failed["hypothesis"]) == (1.0, "")
    assert value["system"] == "tuned"
    assert value["method"]["asr"] == "tiny.pt"


def test_speed_is_of_the_system_and_not_of_its_files(tree):
    figures, value, _ = run("speed")
    assert figures["rtf"] > 0
    assert {row["id"] for row in value["rows"]} == {"t0", "t1"}
    assert value["groups"] == {}


def test_a_model_that_never_ends_a_clip_fails_in_every_clip(tree):
    """A random network is stopped by the limit: nothing that it says makes up for that."""
    where = {"splits": Path("data/splits"), "base": spoken.BASE, "network": spoken.MERGED}
    synthesize.run(Settings(), model=Path("workflow/models/micro.yaml"), system="tuned", out=TUNED, **where)
    stopped = [json.loads(line)["stopped"] for line in (TUNED / "clips.jsonl").read_text().splitlines()]
    assert stopped == [False] * 3, "a network that ended by chance proves nothing here"
    _, value, _ = run("wer")
    assert [row["failure"] for row in value["rows"]] == ["limit"] * 3
