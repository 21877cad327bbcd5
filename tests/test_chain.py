"""Each family's tiny stand-in goes the whole way on six utterances, from WAVs to the report.

The micro model goes it in `make demo`.
"""

import dataclasses
import json
from pathlib import Path

import pytest

import families
import spoken
from sotaque import audio, files, manifest, settings
from sotaque.backends.families import FAMILIES
from sotaque.data import tokenize
from sotaque.evaluation import evaluate, report, synthesize
from sotaque.manifest import Utterance
from sotaque.stages import METRICS, SYSTEMS
from sotaque.training import merge, select, train

MODEL = Path("workflow/models/tiny.yaml")
BASE, LORA, MERGED = Path("models/tiny/base"), Path("models/tiny/lora"), Path("models/tiny/merged")
SPLITS, TOKENS, RESULTS = Path("data/splits"), Path("data/tokens/tiny"), Path("results/tiny")
WAV = Path("data/wav/00")
NETWORKS = {"reference": BASE, "codec": BASE, "base": BASE, "tuned": MERGED}
TINY = sorted(name for name, family in families.FAMILIES.items() if family.spec)


def chosen() -> settings.Settings:
    """Two batches of two clips an epoch, two epochs: four steps."""
    return settings.Settings(
        model="tiny", seed=7, lr=1e-2, epochs=2, shards=1,
        lora=settings.Lora(rank=4, alpha=8),
        train=settings.Train(batch_clips=2, save_every_steps=4, precision="float32"),
        select=settings.Select(clips=1),
        evaluate=settings.Evaluate(speed_clips=1, bootstrap_samples=100),
        tracking=settings.Tracking(enabled=False),
    )  # fmt: skip


def corpus(rate_hz: int, shortest_s: float) -> None:
    """Six utterances of one voice, each long enough to be a reference: four, one and one."""
    made = []
    for number in range(6):
        texts = [spoken.TEXTS[number % 4]]
        while audio_s(" ".join(texts)) < shortest_s + 0.1:
            texts.append(spoken.TEXTS[(number + len(texts)) % 4])
        clip = spoken.utterance(f"clip-{number}", " ".join(texts))
        samples, found_hz = audio.read(Path(clip.audio))
        audio.write(Path(clip.audio), audio.resample(samples, found_hz, rate_hz), rate_hz)
        made.append(dataclasses.replace(clip, loudness_lufs=None))
    for part, mine in {"train": made[:4], "val": made[4:5], "test": made[5:]}.items():
        manifest.write(SPLITS / f"{part}.jsonl", mine)
    manifest.write(WAV / "manifest.jsonl", made)
    manifest.write(Path("data/manifest/rejects.jsonl"), [])
    manifest.write(WAV / "rejects.jsonl", [])


def audio_s(text: str) -> float:
    return len(spoken.wave(text, spoken.VOICES["iara"])) / spoken.RATE_HZ


@pytest.fixture(scope="module", params=TINY)
def chain(request, tmp_path_factory):
    """The working folder in which everything has been made; the test runs there."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp(request.param)
    patch.chdir(folder)
    tokenize.codec_sha256.cache_clear()
    family = families.FAMILIES[request.param]
    MODEL.parent.mkdir(parents=True)
    MODEL.write_text(family.spec)
    BASE.mkdir(parents=True)
    family.make(BASE)
    spoken.whisper(BASE / "asr")
    backend = families.Subject(request.param, folder, BASE).backend
    corpus(backend.sample_rate_hz, backend.shortest_reference_s)
    run(chosen())
    yield request.param
    patch.undo()


def run(how: settings.Settings) -> None:
    model = {"model": MODEL, "base": BASE}
    tokenize.run(how, **model, wav=WAV, out=TOKENS / "00", shard="00")
    train.run(how, **model, splits=SPLITS, tokens=TOKENS, out=LORA)
    select.run(how, **model, splits=SPLITS, lora=LORA, out=Path("models/tiny/selected"))
    merge.run(how, **model, lora=LORA, selected=Path("models/tiny/selected.json"), out=MERGED)
    for system in SYSTEMS:
        reads = {**model, "splits": SPLITS, "network": NETWORKS[system], "system": system}
        wav = RESULTS / "wav" / system
        synthesize.run(how, **reads, out=wav)
        for metric in METRICS:
            evaluate.run(how, **reads, wav=wav, metric=metric, out=RESULTS / system / metric)
    report.run(
        how, **model, manifest=Path("data/manifest"), quality=Path("data/quality"), splits=SPLITS, lora=LORA,
        selected=Path("models/tiny/selected.json"), results=RESULTS, out=RESULTS,
    )  # fmt: skip


def test_four_steps_were_learnt_and_heard(chain):
    losses = [json.loads(line) for line in (LORA / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in losses] == [0, 1, 2, 3, 4]
    assert losses[-1]["val_nats"] != losses[0]["val_nats"]
    assert files.read_json(Path("models/tiny/selected.json"))["step"] == 4
    assert (LORA / "skipped.jsonl").read_text() == ""


def test_every_system_has_spoken_and_the_page_says_so(chain):
    [clip] = manifest.read(SPLITS / "test.jsonl", Utterance)
    for system in SYSTEMS:
        samples, _ = audio.read(RESULTS / "wav" / system / f"{clip.id}.wav")
        assert len(samples)
    figures = files.read_json(RESULTS / "metrics.json")["systems"]
    assert all(figures[system]["wer"] is not None for system in SYSTEMS)
    assert figures["tuned"]["rtf"] > 0
    page = (RESULTS / "report.html").read_text()
    assert clip.text in page
    family = FAMILIES[families.FAMILIES[chain].backend]
    assert f"pt: {family.text_form('pt').describe('pt')}" in page
