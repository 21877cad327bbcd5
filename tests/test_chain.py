"""Each family's tiny stand-in goes the whole way on six utterances of the demonstration, to its report.

The micro model goes it in `make demo`; the models side by side are looked at in test_compare.py.
"""

import dataclasses
import json
from pathlib import Path

import pytest

import compare_tiny
import families
from sotaque import audio, files, manifest, model_spec, settings
from sotaque.backends.families import FAMILIES, ChatterboxLearning, CsmLearning, Learning, OrpheusLearning
from sotaque.manifest import Utterance
from sotaque.stages import SYSTEMS
from sotaque.training import train
from sotaque.training.group import Group

LEARNING = {
    "orpheus": OrpheusLearning(),
    "csm": CsmLearning(depth_share=0.5),
    "chatterbox": ChatterboxLearning(text_drop=0.15),
}
pytestmark = pytest.mark.parametrize("model", compare_tiny.MODELS)


@pytest.fixture(autouse=True)
def there(compared, monkeypatch):
    monkeypatch.chdir(compared)


def test_four_steps_were_learnt_and_heard(model):
    lora = Path(f"models/{model}/lora")
    losses = [json.loads(line) for line in (lora / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in losses] == [0, 1, 2, 3, 4]
    assert losses[-1]["val_nats"] != losses[0]["val_nats"]
    assert files.read_json(Path(f"models/{model}/selected.json"))["step"] in (0, 4)  # babble beside babble
    assert (lora / "skipped.jsonl").read_text() == ""


def test_training_is_told_what_the_models_file_says_of_it(model):
    """csm's file has a `learning` section of its own; the other families keep their defaults."""
    spec, how = model_spec.read(model), settings.read(Path("params.yaml"))
    folders = {"splits": Path("data/splits"), "base": Path(f"models/{model}/base")}
    chosen = dataclasses.replace(how, model=model)
    tokens = Path(f"data/tokens/{model}")
    trainer, _ = train._prepare(
        Group(), chosen, model=Path(f"workflow/models/{model}.yaml"), tokens=tokens, **folders
    )
    assert trainer.backend.learning == spec.learning == LEARNING.get(model, Learning())


def test_every_system_has_spoken_and_the_page_says_so(model):
    results = Path(f"results/{model}")
    clips = manifest.read(Path("data/splits/test.jsonl"), Utterance)
    assert len(clips) == 2
    for system in SYSTEMS:
        for clip in clips:
            samples, _ = audio.read(results / "wav" / system / f"{clip.id}.wav")
            assert len(samples)
    figures = files.read_json(results / "metrics.json")["systems"]
    assert all(figures[system]["wer"] is not None for system in SYSTEMS)
    assert figures["reference"]["wer"] < 0.2 < figures["tuned"]["wer"]  # a real ASR, and a model that babbles
    assert figures["tuned"]["rtf"] > 0
    page = (results / "report.html").read_text()
    assert all(clip.text in page for clip in clips)
    family = FAMILIES[families.FAMILIES[compare_tiny.MODELS[model]].backend]
    assert f"pt: {family.text_form('pt').describe('pt')}" in page
