"""The page and metrics.json: figures copied and judged rightly, every clip's sound whole, all text inert."""

import csv
import dataclasses
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import pages
import spoken
import tiny
from pages import EVIL, Reader
from sotaque import audio, files, manifest
from sotaque.errors import InputError
from sotaque.evaluation import curves, report
from sotaque.evaluation.page import clips
from sotaque.manifest import Reject
from sotaque.metrics import failures, registry, targets, wer
from sotaque.page import charts, spectrogram
from sotaque.settings import Report, Settings
from sotaque.training import record

SYSTEMS = ("reference", "codec", "base", "tuned")
HEARD = {"reference": 0, "codec": 1, "base": 3, "tuned": 2}  # words heard wrongly in each text


def rows_of(test, system, metric):
    for number, u in enumerate(test):
        failed = system == "base" and number == 0
        start = {"id": u.id, "group": u.group, "speaker": u.speaker, "status": "failed" if failed else "ok"}
        if metric == "wer":
            words = u.text.split()
            wrong = min(HEARD[system], len(words))
            said = "" if failed else " ".join(words[: len(words) - wrong] + ["ruído"] * wrong)
            errors = wer._as_row(wer.utterance_errors(u.text, said, "pt"))
            yield start | errors | {"failure": "empty" if failed else FAILURES.get((system, u.id))}
        elif metric == "mos":
            yield start | dict.fromkeys(("mos", "sig", "bak", "p808"), None if failed else 2.0 + number / 10)
        elif metric == "similarity":
            value = None if failed else 0.9
            yield start | {"unit": u.id, "similarity": value, "other_speakers": None}
        elif metric == "speed" and system != "reference" and not u.group:
            yield start | {"compute_s": 0.5, "audio_s": 1.0}


FAILURES = {("tuned", "t2"): "limit", ("base", "t2"): "too-long", ("tuned", "novel"): "cut"}
FIGURES = ("wer", "cer", "mos", "similarity", "rtf")
KEYS = {
    *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")),
    *("clips", "failed", "failures", "intervals"),
}
METHODS = {
    "wer": {"asr": "tiny.pt", "decode": "greedy", "normalizer": {"pt": "basic"}},
    "mos": {"predictor": "DNSMOS"},
    "similarity": {"encoder": "Resemblyzer", "reference_clips": 10, "joined_clips": 2},
    "speed": {"batch_clips": 1, "threads": 1, "hardware": "a <fast> computer", "precision": "float32"},
}


def write_results(test):
    """The JSON of every system and metric as evaluate writes it, with errors counted by hand."""
    for system in SYSTEMS:
        for metric in METHODS:
            rows = list(rows_of(test, system, metric))

            def summary(group, rows=rows, metric=metric):
                mine = [row for row in rows if row["group"] == group]
                without_speech = sum(row["status"] == "failed" for row in mine)
                counts = {"clips": len(mine), "without_speech": without_speech}
                return registry.summarize(registry.get(metric), mine) | counts

            groups = {group: summary(group) for group in sorted({row["group"] for row in rows} - {""})}
            value = {"system": system, "metric": metric, "method": METHODS[metric], "summary": summary(""),
                     "groups": groups, "rows": rows}  # fmt: skip
            files.write_json(Path(f"results/micro/{system}/{metric}.json"), value)


def context(system):
    """What `evaluate` would measure in the working folder."""
    test = manifest.read(Path("data/splits/test.jsonl"))
    return spoken.context(test, [], system, wav=Path(f"results/micro/wav/{system}"))


@pytest.fixture
def tree(workplace):
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    test[1] = dataclasses.replace(test[1], text=f"{EVIL} {test[1].text}")
    test.append(spoken.utterance("novel", spoken.TEXTS[3], group="novel-words"))
    spoken.splits(test, [spoken.utterance("train", spoken.TEXTS[3])])
    for system in SYSTEMS:
        for number, u in enumerate(test):
            if not (system == "base" and number == 0):
                samples, rate_hz = audio.read(Path(u.audio))
                audio.write(Path(f"results/micro/wav/{system}/{u.id}.wav"), samples, rate_hz)
    rejects = [Reject("x1", "x1.wav", "ingest", "truncated", f"says {EVIL}"),
               Reject("x2", "x2.wav", "ingest", "truncated", "cut")]  # fmt: skip
    manifest.write(Path("data/manifest/rejects.jsonl"), rejects)
    manifest.write(
        Path("data/wav/00/rejects.jsonl"), [Reject("x3", "x3.wav", "normalize", "too-short", "0.1 s")]
    )
    write_results(test)
    losses = [(0, None, 4.0), (1, 3.5, None), (2, 3.0, 2.5)]
    rows = [{"step": s, "train_nats": t, "val_nats": v, "lr": 0.1, "tokens": 10 * s} for s, t, v in losses]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    files.write_text(Path("models/micro/lora/losses.jsonl"), lines)
    record.write(tiny.RECORD, Path("models/micro/lora"))
    candidates = [{"step": 0, "wer": 0.5, "similarity": 0.4, "score": -0.1},
                  {"step": 2, "wer": 0.1, "similarity": None, "score": 0.1}]  # fmt: skip
    files.write_json(Path("models/micro/selected.json"),
                     {"step": 2, "reason": "step 2 is the earliest", "candidates": candidates})  # fmt: skip
    return workplace


def run(settings: Settings = Settings(), out: str = "results/micro"):  # noqa: B008 - frozen
    figures = report.run(
        settings, model=Path("workflow/models/micro.yaml"), manifest=Path("data/manifest"),
        quality=Path("data/quality"),
        splits=Path("data/splits"), base=spoken.BASE, lora=Path("models/micro/lora"),
        selected=Path("models/micro/selected.json"), results=Path("results/micro"), out=Path(out),
    )  # fmt: skip
    return figures, files.read_json(Path(out) / "metrics.json"), (Path(out) / "report.html").read_text()


def test_metrics_have_exactly_the_promised_keys_and_the_right_figures(tree):
    figures, metrics, _ = run()
    assert set(metrics) == {
        "model", "systems", "targets", "differences", "groups", "splits", "checkpoint",
    }  # fmt: skip
    assert tuple(sorted(metrics["systems"])) == tuple(sorted(SYSTEMS))
    for row in metrics["systems"].values():
        assert set(row) == KEYS
        assert set(row["intervals"]) == set(FIGURES)
        assert tuple(row["failures"]) == tuple(sorted(failures.KINDS)), "JSON sorts its keys"
    assert metrics["systems"]["reference"]["wer"] == 0.0
    assert metrics["systems"]["reference"]["rtf"] is None
    tuned = files.read_json(Path("results/micro/tuned/wer.json"))["rows"]
    words = sum(row["words"] for row in tuned if row["group"] == "")
    assert metrics["systems"]["tuned"]["wer"] == pytest.approx(3 * HEARD["tuned"] / words)
    assert metrics["groups"]["novel-words"]["tuned"]["clips"] == 1
    assert metrics["groups"]["novel-words"]["tuned"]["rtf"] is None
    assert figures["tuned_wer"] == metrics["systems"]["tuned"]["wer"]
    assert "tuned_cer" not in figures


def test_failed_clips_are_counted_by_kind_for_every_system_and_group(tree):
    figures, metrics, _ = run()
    none = dict.fromkeys(failures.KINDS, 0)
    assert metrics["systems"]["reference"]["failures"] == none
    assert metrics["systems"]["base"]["failures"] == none | {"empty": 1, "too-long": 1}
    assert metrics["systems"]["tuned"]["failures"] == none | {"limit": 1}
    assert metrics["groups"]["novel-words"]["tuned"]["failures"] == none | {"cut": 1}
    assert (metrics["systems"]["base"]["failed"], metrics["systems"]["tuned"]["failed"]) == (2, 1)
    assert (figures["base_failed"], figures["tuned_failed"]) == (2, 1)


def test_the_page_shows_failed_clips_by_kind_with_the_clips_to_hear(tree):
    page = run()[2]
    reader = Reader(page)
    text = reader.words()
    assert "1 (limit 1)" in text
    assert "2 (empty 1, too-long 1)" in text
    assert "limit ran into the generation limit without ending 0 0 0 1 t2" in text
    assert "too-long over 1.75 times as long as the recording, and over a second longer 0 0 1 t2 0" in text
    assert "failed: limit" in text
    links = {a["href"] for a in reader.of("a") if a["href"].startswith("#clip-")}
    assert links == {"#clip-t0", "#clip-t2", "#clip-novel"}
    assert links <= {f"#{row['id']}" for row in reader.of("tr") if "id" in row}


def test_clips_without_speech_lower_the_mean(tree):
    """The base has three headline clips, one without speech: similarity 0, MOS 1."""
    base = run()[1]["systems"]["base"]
    assert base["similarity"] == pytest.approx((0 + 0.9 + 0.9) / 3)
    assert base["mos"] == pytest.approx((1 + 2.1 + 2.2) / 3)


def test_differences_are_paired_for_every_metric(tree):
    metrics = run()[1]
    assert set(metrics["differences"]) == {"tuned minus base", "tuned minus codec"}
    systems, rows = metrics["systems"], metrics["differences"]["tuned minus base"]
    assert set(rows) == set(FIGURES)
    for name in FIGURES:
        assert rows[name]["value"] == pytest.approx(systems["tuned"][name] - systems["base"][name])
        assert rows[name]["clips"] == 3


@pytest.mark.parametrize(
    ("name", "target", "low", "high", "state"),
    [("wer", 0.15, 0.10, 0.14, "met"), ("wer", 0.15, 0.10, 0.15, "open"), ("wer", 0.15, 0.14, 0.20, "open"),
     ("wer", 0.15, 0.15, 0.20, "not met"), ("mos", 3.5, 3.51, 3.9, "met"), ("mos", 3.5, 3.5, 3.9, "open"),
     ("mos", 3.5, 3.1, 3.5, "not met"), ("similarity", 0.85, 0.7, 0.9, "open"),
     ("rtf", 1.0, None, None, "open")],
)  # fmt: skip
def test_a_target_is_judged_by_the_whole_interval(name, target, low, high, state):
    column = next(column for _, column in registry.columns() if column.name == name)
    figures = {name: 0.5, f"{name}_low": low, f"{name}_high": high, "intervals": {name: "only four clips"}}
    found = targets.judge(column, target, figures)
    assert {key: found[key] for key in ("target", "value", "low", "high", "state")} == {
        "target": target, "value": 0.5, "low": low, "high": high, "state": state,
    }  # fmt: skip
    assert found["why"] == "only four clips" if low is None else f"{low:.3f} to {high:.3f}" in found["why"]


def test_a_target_without_a_value_is_open(tree):
    column = registry.get("speed").columns[0]
    found = targets.judge(column, 1.0, dict.fromkeys(("rtf", "rtf_low", "rtf_high")) | {"intervals": {}})
    assert (found["state"], found["why"]) == ("open", "nothing was measured")


def test_the_page_says_each_target_in_a_sentence(tree):
    figures, metrics, page = run()
    text = Reader(page).words()
    states = [verdict["state"] for verdict in metrics["targets"].values()]
    assert figures["targets_met"] == states.count("met")
    assert f"The tuned model meets {states.count('met')} of 4 targets" in text
    for name, label in (("wer", "WER"), ("mos", "MOS"), ("similarity", "Similarity"), ("rtf", "RTF")):
        assert f"{metrics['targets'][name]['state']}: tuned {label} " in text
        assert metrics["targets"][name]["why"] in text


def test_full_fine_tuning_is_not_called_lora(tree):
    """The method section says what was done, whatever the section `lora` of params.yaml holds."""
    whole = dataclasses.replace(tiny.RECORD, method="full", lora=None)
    record.write(whole, Path("models/micro/lora"))
    _, _, page = run(dataclasses.replace(Settings(), lr=0.5))
    assert "full fine-tuning of every weight, 12,345 trainable parameters" in page
    assert "LoRA of rank" not in page
    assert "peak learning rate 0.001, linear schedule" in page
    record.write(tiny.RECORD, Path("models/micro/lora"))
    assert "LoRA of rank 32, alpha 64, dropout 0; on q_proj, v_proj" in run()[2]


def test_text_of_others_is_inert(tree):
    pages.assert_text_of_others_is_inert(run()[2])


def test_page_needs_nothing_from_outside(tree):
    pages.assert_needs_nothing_from_outside(run()[2])


def test_players_hold_the_samples_of_the_wavs(tree):
    _, _, page = run()
    players = {a["aria-label"]: a["src"] for a in Reader(page).of("audio")}
    assert len(players) == 4 * 4 - 1, "the base never said t0"
    samples, rate_hz = pages.samples_of(players[f"tuned: {spoken.TEXTS[2]}"])
    expected, expected_hz = soundfile.read("results/micro/wav/tuned/t2.wav", dtype="int16")
    assert rate_hz == expected_hz
    assert samples == expected.tobytes()


def test_page_and_curves_are_the_same_twice(tree):
    run()
    names = ("report.html", "metrics.json", "plots/loss.csv", "plots/selection.csv")
    first = [(tree / "results/micro" / name).read_bytes() for name in names]
    run()
    assert first == [(tree / "results/micro" / name).read_bytes() for name in names]
    assert str(tree).encode() not in b"".join(first)


def test_curves_for_dvc(tree):
    run()
    loss = list(csv.DictReader(Path("results/micro/plots/loss.csv").read_text().splitlines()))
    assert loss[0] == {"step": "0", "train_nats": "", "val_nats": "4.0"}
    assert loss[2] == {"step": "2", "train_nats": "3.0", "val_nats": "2.5"}
    chosen = list(csv.DictReader(Path("results/micro/plots/selection.csv").read_text().splitlines()))
    assert [row["wer"] for row in chosen] == ["0.5", "0.1"]
    assert chosen[1]["similarity"] == ""


def test_the_page_shows_why_a_checkpoint_was_chosen(tree):
    """The reason as select wrote it, and beside each other what every checkpoint reached."""
    candidates = [
        {"step": step, "wer": wer, "similarity": 0.7, "duration_ratio": 1.0, "failed": step, "score": score}
        for step, wer, score in ((0, 0.9, -0.2), (2, 0.25, 0.45), (4, 0.5, 0.2))
    ]
    reason, warning = "its score is the best", "step 2 failed in 2 clips"
    chosen = {"step": 2, "reason": reason, "warnings": [warning], "candidates": candidates}
    files.write_json(Path("models/micro/selected.json"), chosen)
    text = Reader(run()[2]).words()
    assert reason in text
    assert f"Warning: {warning}" in text
    assert "0 base 0.900 0.70 1.00 0 -0.200" in text
    assert "2 selected 0.250 0.70 1.00 2 0.450" in text
    assert "4 0.500 0.70 1.00 4 0.200" in text


def test_rejects_of_all_stages_are_counted(tree):
    noisy = Reject("x4", "x4.wav", "quality", "noisy", "its snr_db is 2")
    manifest.write(Path("data/quality/rejects.jsonl"), [noisy])
    leaked = Reject("x5", "x5.wav", "split", "leak", "its text is that of t1")
    manifest.write(Path("data/splits/rejects.jsonl"), [leaked])
    text = Reader(run()[2]).words()
    assert "truncated 2 x1: says" in text
    assert "too-short 1 x3: 0.1 s" in text
    assert "noisy 1 x4: its snr_db is 2" in text
    assert "leak 1 x5: its text is that of t1" in text


def test_missing_pieces_are_named(tree):
    (tree / "results/micro/base/mos.json").unlink()
    with pytest.raises(InputError, match=r"results/micro/base/mos\.json"):
        run()
    with pytest.raises(InputError, match=r"losses\.jsonl.*run sotaque train"):
        curves.read_losses(tree)
    files.write_json(tree / "selected.json", {"step": 3})
    with pytest.raises(InputError, match=r"selected\.json.*candidates"):
        curves.read_selection(tree / "selected.json")


def test_few_clips_are_the_worst_then_examples_of_failures_then_a_sample(tree):
    utterances = [dataclasses.replace(manifest.read(Path("data/splits/test.jsonl"))[0], id=f"u{i:02d}")
                  for i in range(40)]  # fmt: skip
    tuned = {u.id: {"wer": n / 40, "mos": 3.0, "similarity": 0.5} for n, u in enumerate(utterances)}
    scores = {"base": {"u03": {"failure": "silent"}}, "tuned": tuned}
    chosen = [u.id for u in clips.choose(utterances, scores, 15)]
    assert chosen[:10] == [f"u{i:02d}" for i in range(39, 29, -1)]
    assert "u03" in chosen
    assert len(chosen) == 15
    assert [tuned[i]["wer"] for i in chosen] == sorted((tuned[i]["wer"] for i in chosen), reverse=True)
    assert [u.id for u in clips.choose(utterances, scores, 3)] == ["u39", "u38", "u37"]
    tuned["u05"]["failure"] = "limit"
    assert clips.choose(utterances, scores, 3)[0].id == "u05", "a failed clip is worse than any WER"
    _, _, page = run(dataclasses.replace(Settings(), report=Report(clips=2)))
    assert len(Reader(page).of("audio")) in (7, 8)


def test_words_are_marked():
    assert clips.compare("o gato dorme bem", "o rato dorme") == [
        ("o", "right"), ("rato", "wrong"), ("dorme", "right"), ("bem", "missing"),
    ]  # fmt: skip
    assert clips.compare("o gato", "") == []


def decode_png(content: bytes) -> np.ndarray:
    """A PNG of 4-bit indices and unfiltered lines, read by the standard's own rules."""
    width, height = struct.unpack(">II", content[16:24])
    position, body = 8, b""
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        chunk = content[position + 8 : position + 8 + length]
        [checksum] = struct.unpack(">I", content[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(name + chunk)
        body += chunk if name == b"IDAT" else b""
        position += 12 + length
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return np.stack([lines[:, 1:] >> 4, lines[:, 1:] & 15], axis=2).reshape(height, -1)[:, :width]


@pytest.mark.parametrize("width", [1, 2, 7, 124])
def test_png_round_trip(width):
    picture = np.random.default_rng(width).integers(0, 16, (spectrogram.ROWS, width), dtype=np.uint8)
    assert np.array_equal(decode_png(spectrogram.png(picture)), picture)


@pytest.mark.parametrize("frequency_hz", [500, 2000, 6000])
def test_a_tone_lights_its_own_row(frequency_hz):
    time_s = np.arange(24_000) / 24_000
    picture = spectrogram.levels(np.sin(2 * np.pi * frequency_hz * time_s), 24_000)
    brightest = spectrogram.ROWS - 1 - picture[:, 25].argmax()
    assert abs((brightest + 0.5) / spectrogram.ROWS * spectrogram.TOP_HZ - frequency_hz) < 170
    assert picture.shape[1] == pytest.approx(1.0 / spectrogram.COLUMN_S, abs=2)


def test_silence_is_a_picture_too():
    assert not spectrogram.levels(np.zeros(5000), 24_000).any()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 600, [0, 200, 400, 600]), (1.3, 4.9, [1, 2, 3, 4, 5]),
     (3, 3, [3, 3.2, 3.4, 3.6, 3.8, 4])],
)  # fmt: skip
def test_ticks(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_chart_puts_points_where_they_belong():
    drawn = charts.line_chart("a < b", "x", "y", [charts.Series("one", [(0, 0), (10, 1)], 0)])
    points = re.search(r'points="([^"]+)"', drawn)[1].split()
    bottom, top = charts.HEIGHT - charts.BOTTOM, charts.TOP
    corners = [(charts.LEFT, bottom), (charts.WIDTH - charts.RIGHT, top)]
    assert [tuple(map(float, point.split(","))) for point in points] == corners
    assert "a &lt; b" in drawn
    assert charts.line_chart("empty", "x", "y", [charts.Series("none", [], 0)]) == ""


def test_long_curves_are_thinned_to_means():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    thin = charts.thinned(points)
    assert len(thin) == 200
    assert thin[0] == (2.0, pytest.approx(0.4))
    assert charts.thinned(points[:150]) == points[:150]
