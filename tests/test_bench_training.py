"""The benchmarks of training and generation on tiny models: both systems do the same work, and say so."""

import contextlib
import io
from pathlib import Path

import pytest
import torch
from bench import generate, train

import tiny
from sotaque import manifest
from sotaque.backends.families import OrpheusGeneration as Generation
from sotaque.backends.orpheus import Backend


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working folder as the benchmarks find it in their clone."""
    monkeypatch.chdir(tmp_path)
    tiny.world()
    Path("params.yaml").write_text(
        "{model: tiny, lr: 1e-3, epochs: 3, shards: 2, lora: {rank: 4, alpha: 8},"
        " train: {batch_clips: 3, precision: float32, warmup_share: 0}}"
    )
    manifest.write(Path("data/splits/test.jsonl"), manifest.read(Path("data/splits/val.jsonl")))
    monkeypatch.setattr(train, "MODEL", "tiny")
    for table, value in ((train.STEPS, None), (generate.FRAMES, 3), (generate.TURNS, 1)):
        monkeypatch.setitem(table, "tiny", value)


def measured(system):
    with contextlib.redirect_stdout(io.StringIO()):  # the Trainer prints its own figures
        return train.measure(system, "tiny")


def test_both_systems_learn_from_the_same_clips(world):
    ours, theirs = measured("ours"), measured("trainer")
    assert ours["steps"] == theirs["steps"] == 4
    useful = [figures["tokens_per_s"] * figures["seconds"] for figures in (ours, theirs)]
    assert useful[0] == pytest.approx(useful[1], rel=0.05)
    assert ours["val_nats_before"] == theirs["val_nats_before"]
    for figures in (ours, theirs):
        assert figures["val_nats_after"] < figures["val_nats_before"]
    assert ours["val_nats_after"] == pytest.approx(theirs["val_nats_after"], rel=0.05)
    assert ours["positions_per_useful_token"] <= theirs["positions_per_useful_token"]


def test_model_generates_tokens_are_counted_to_the_end_of_speech(world):
    """A network that goes on for ever, and the same whose output layer knows only speech end."""
    backend = Backend(Path("models/tiny/base"), torch.device("cpu"))
    network, layout = backend.load_network(), backend.layout
    prompts = [layout.prompt(backend.tokenizer.text_ids(text)) for text in ("a", "uma frase")]
    network.lm_head = torch.nn.Linear(16, tiny.SMALL.vocabulary)
    torch.nn.init.zeros_(network.lm_head.weight)
    counts = []
    for winner in (layout.first_audio, layout.speech_end):
        torch.nn.init.zeros_(network.lm_head.bias)
        network.lm_head.bias.data[winner] = 1000.0
        counts.append(generate.library(network, layout, prompts, Generation(), limit=5))
    assert counts == [2 * 5, 0]


def test_generation_is_measured_at_every_batch_size(world):
    figures = generate.measure("tiny")
    assert list(figures["batches"]) == ["1", "16"]
    for pair in figures["batches"].values():
        assert pair["ratio"] == pytest.approx(
            pair["ours"]["tokens_per_s"] / pair["theirs"]["tokens_per_s"], abs=0.02
        )
        assert 0 < pair["ours"]["tokens"] <= 16 * 3 * 7


def test_shares_of_a_card_s_peak_by_hand():
    """A network of 6 frozen weights, of which 2 are the output layer's, and 3 learnt ones."""
    network = torch.nn.Module()
    network.lm_head = torch.nn.Linear(2, 1, bias=False).requires_grad_(False)
    network.frozen = torch.nn.Linear(2, 2, bias=False).requires_grad_(False)
    network.learnt = torch.nn.Linear(3, 1, bias=False)
    network.get_base_model = lambda: network
    done = 1e12 * (4 * 4 + 6 * 3) + 5e11 * 4 * 2
    found = train.mfu("NVIDIA H200", network, positions=10**12, tokens=5 * 10**11, seconds=1.0)
    assert found == round(done / 989e12, 3) == 0.038
    assert train.mfu("an unknown card", network, 1, 1, 1.0) is None
    assert generate.bandwidth("NVIDIA H200", network, 1e11) == round(1e11 * 9 * 4 / 4.8e12, 3) == 0.75
    assert generate.bandwidth("an unknown card", network, 1.0) is None
    card = {"llama-3b": {"ours": {"positions_per_s": 31000, "mfu": 0.41}, "trainer": {"tokens_per_s": 1.0}}}
    assert train.on_the_card(card) == ["llama-3b, sotaque: 31,000 positions/s, 41 % of the card's peak."]


def test_the_median_turn_keeps_the_speed_of_all():
    found = train.median([{"tokens_per_s": speed, "val_nats_after": 1.0} for speed in (3.0, 9.0, 5.0)])
    assert (found["tokens_per_s"], found["tokens_per_s_of_turns"]) == (5.0, [3.0, 9.0, 5.0])
    assert train.losses({"ours": found, "trainer": found | {"val_nats_after": 1.5}}) == {
        train.NAMES["trainer"]: 0.5
    }


def test_the_tables_have_a_row_for_each_system():
    numbers = {"tokens_per_s": 2.0, "peak_mb": 3, "nats_per_s": 0.1, "val_nats_after": 1.5}
    found = {
        "networks": {"micro": dict.fromkeys(train.SYSTEMS, numbers)},
        "ratio_of_networks": {"micro": 2.0},
    }
    lines = train.table(found | {"gpu": train.card()}).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:5]] == list(train.NAMES.values())
    pair = {name: {"tokens_per_s": 2.0, "rtf": 0.5} for name in ("ours", "theirs")} | {"ratio": 1.0}
    table = generate.table({"networks": {"micro": {"batches": {"1": pair}}}, "gpu": train.card()})
    assert "| micro | 1 | 2 | 0.500 | 2 | 0.500 | 1.0 |" in table
