"""From results to report.html: what the page says, in words, tables, pictures and sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sotaque import manifest as manifests
from sotaque import rejects
from sotaque.evaluation.curves import Loss, Selection
from sotaque.evaluation.page import clips, words
from sotaque.manifest import Reject, Utterance
from sotaque.metrics import registry
from sotaque.metrics.registry import Reading
from sotaque.metrics.targets import MET, NOT_MET
from sotaque.model_spec import ModelSpec
from sotaque.page import charts, spectrogram, template
from sotaque.settings import Settings
from sotaque.training.record import TrainingRecord

HERE = Path(__file__).parent
DEMO = "demo"
ABOUT_SYSTEMS = {
    "reference": "the recordings",
    "codec": "recordings through the codec",
    "base": "the model before",
    "tuned": "the model after",
}


@dataclass(frozen=True)
class Page:
    """Everything that the page shows. wav: the folder with a folder of WAVs per system."""

    settings: Settings
    spec: ModelSpec
    metrics: dict[str, Any]
    results: dict[str, dict[str, Any]]
    wav: Path
    manifest: Path
    quality: Path
    splits: Path
    training: TrainingRecord
    losses: Sequence[Loss]
    selection: Selection

    def html(self) -> str:
        return template.fill(HERE / "page.html", self._values())

    def _values(self) -> dict[str, Any]:
        parts = {part: manifests.read(self.splits / f"{part}.jsonl") for part in ("train", "val", "test")}
        recordings = next(Path(u.audio).parents[1] for part in parts.values() for u in part)
        shown = clips.rows(parts["test"], self.results, self.wav, self.settings.report.clips)
        return {
            "model": self.settings.model,
            "about": self.spec.about,
            **self._verdicts(),
            "groups": self.metrics["groups"],
            "about_systems": ABOUT_SYSTEMS,
            "clips": shown,
            "failures": clips.failed(self.results, (clip["id"] for clip in shown)),
            "clips_total": len(parts["test"]),
            "judged": words.JUDGED,
            "clip_columns": clips.columns(),
            "clip_order": ", then by ".join(column.label for column in clips.columns()),
            "spectrogram_top_khz": spectrogram.TOP_HZ // 1000,
            "sorts": clips.sorts(self.metrics["systems"], "worst first"),
            "charts": self._charts(),
            "selection": self.selection,
            "parts": [_part(name, utterances) for name, utterances in parts.items()],
            "rejects": rejects.by_code(self._rejects(recordings)),
            "method": words.method(self.training, self.spec, self.results["tuned"]),
        }

    def _rejects(self, wav: Path) -> list[Reject]:
        """Clips rejected by ingest, by normalize, by quality and by split."""
        folders = [self.manifest, *(wav / shard for shard in manifests.shard_names(self.settings.shards))]
        paths = [folder / "rejects.jsonl" for folder in (*folders, self.quality, self.splits)]
        return [reject for path in paths if path.exists() for reject in manifests.read(path, Reject)]

    def _verdicts(self) -> dict[str, Any]:
        systems, verdicts = self.metrics["systems"], self.metrics["targets"]
        columns = [column for _, column in registry.columns()]
        states = Counter(verdict["state"] for verdict in verdicts.values())
        return {
            "columns": columns,
            "systems": systems,
            "targets": verdicts,
            "states": states,
            "verdict": "met" if states[MET] == len(verdicts) else "missed" if states[NOT_MET] else "open",
            "target_sentences": words.targets(verdicts),
            "main_caption": f"Test clips: {systems[words.JUDGED]['clips']}",
            "differences": {
                name: [words.difference(column, found[column.name]) for column in columns]
                for name, found in self.metrics["differences"].items()
            },
            "interval_methods": words.interval_methods(systems),
            "interval": words.interval,
            "failed": words.failed,
            "explanations": self._explanations(),
        }

    def _explanations(self) -> list[str]:
        """How to read each metric's figures."""
        targets, is_synthetic = self.settings.targets, self.settings.ingest.corpus == DEMO
        found = [
            registry.get(name).explain(Reading(metric["summary"], targets, is_synthetic))
            for name, metric in self.results["reference"].items()
        ]
        return [sentence for sentence in found if sentence]

    def _charts(self) -> list[Any]:
        return [
            chart
            for chart in (loss_chart(self.losses), selection_chart(self.selection, self.settings))
            if chart
        ]


def loss_chart(losses: Sequence[Loss]) -> Any:
    train = [(x.step, x.train_nats) for x in losses if x.train_nats is not None]
    val = [(x.step, x.val_nats) for x in losses if x.val_nats is not None]
    series = [charts.Series("training", train, 0), charts.Series("validation", val, 1, dots=True)]
    return charts.line_chart("Loss", "optimiser step", "nats per audio token", series)


def selection_chart(selection: Selection, settings: Settings) -> Any:
    def points(name: str) -> list[tuple[float, float]]:
        found = [(c.step, getattr(c, name)) for c in selection.candidates]
        return [(step, value) for step, value in found if value is not None]

    series = [
        charts.Series("WER", points("wer"), 1, dots=True),
        charts.Series("speaker similarity", points("similarity"), 0, dots=True),
    ]
    levels = [
        charts.Level(f"target of WER, {settings.targets.wer:g}", y=settings.targets.wer, style=1),
        charts.Level(
            f"target of similarity, {settings.targets.similarity:g}", y=settings.targets.similarity, style=0
        ),
        charts.Level(f"selected: step {selection.step}", x=selection.step, style=3),
    ]
    return charts.line_chart(
        "Checkpoints on validation texts (step 0 is the base)",
        "optimiser step",
        "WER; cosine",
        series,
        levels,
    )


def _part(name: str, utterances: Sequence[Utterance]) -> dict[str, Any]:
    return {
        "name": name,
        "clips": len(utterances),
        "minutes": sum(u.duration_s for u in utterances) / 60,
        "speakers": len({u.speaker for u in utterances}),
        "languages": ", ".join(sorted({u.language for u in utterances})),
    }
