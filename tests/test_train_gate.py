"""The gate on request: speech that nobody understands stops the training, and only stops it."""

import dataclasses
from pathlib import Path

import pytest

import seals
import spoken
import tiny
from sotaque import jobs, manifest, seal
from sotaque.errors import ModelError, SettingsError
from sotaque.settings import Gate, Lora
from sotaque.training import lora
from test_train import with_train


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A world with a recogniser whose weights are random: whatever it hears, it is not the text."""
    monkeypatch.chdir(tmp_path)
    settings = tiny.world()
    spoken.whisper(tiny.READS["base"] / "asr")
    return settings


def gated(settings, **values):
    return dataclasses.replace(settings, gate=Gate(**values))


def test_gibberish_stops_the_run_and_is_shown(settings):
    with pytest.raises(ModelError) as caught:
        tiny.train(gated(settings, step=3, clips=2, wer=0.5))
    told = str(caught.value)
    assert told.startswith("at step 3 the speech is not understood: WER ")
    assert "over 2 texts, allowed is gate.wer 0.5 (" in told
    spoken_texts = {u.id: u.text for u in manifest.read(Path("data/splits/val.jsonl"))}
    assert sum(f"{name}: {text!r} was heard as" in told for name, text in spoken_texts.items()) == 2
    assert not tiny.LORA.exists()


def test_a_layer_that_learns_whole_in_float32_speaks_in_the_bases_bfloat16(settings):
    """Embeddings and output of float32 beside layers in bfloat16, which no product takes without autocast."""
    whole = Lora(rank=4, alpha=8, modules_to_save=("embed_tokens", "lm_head"))
    settings = dataclasses.replace(with_train(settings, precision="bfloat16"), lora=whole)
    with pytest.raises(ModelError, match="at step 3 the speech is not understood"):
        tiny.train(gated(settings, step=3, wer=0.5))
    tiny.train(gated(settings, step=3, wer=1000.0), Path("heard"))
    tiny.train(settings, Path("unheard"))
    assert tiny.tree(Path("heard")) == tiny.tree(Path("unheard"))


def test_stopped_there_it_stops_there_again(settings, caplog):
    caplog.set_level("INFO")
    for _ in range(2):
        with pytest.raises(ModelError, match="at step 3 the speech"):
            tiny.train(gated(settings, step=3, wer=0.5))
    assert "going on from step 3" in caplog.text


def test_a_higher_limit_goes_on_and_changes_no_byte(settings, caplog):
    tiny.train(settings, Path("ungated"))
    with pytest.raises(ModelError):
        tiny.train(gated(settings, step=3, wer=0.5))
    [scratch] = Path("scratch/train").iterdir()
    assert lora.steps(scratch) == [2, 3]
    caplog.set_level("INFO")
    tiny.train(gated(settings, step=3, wer=1000.0))
    assert "going on from step 3" in caplog.text
    assert "step 3 passes the gate with WER" in caplog.text
    assert tiny.tree(tiny.LORA) == tiny.tree(Path("ungated"))


def test_a_gate_behind_the_end_is_refused(settings):
    with pytest.raises(SettingsError, match=r"gate\.step is 7, but this training ends at step 6"):
        tiny.train(gated(settings, step=7))


def test_the_gate_is_no_part_of_what_is_sealed(settings):
    train = next(job for job in jobs.of(settings) if job.stage.word == "train")
    seals.write(settings, train.seals)
    assert seal.wanted(train, gated(settings, step=3)) == seal.wanted(train, settings)
