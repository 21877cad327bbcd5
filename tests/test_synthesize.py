"""Synthesis of the four systems with tiny models in the real layout."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import spoken
import tiny
from sotaque import audio, backends, loudness, manifest, settings
from sotaque.backends import orpheus
from sotaque.backends.protocol import Prompt, Spoken
from sotaque.errors import ModelError
from sotaque.evaluation import synthesize
from sotaque.evaluation.synthesize import Clip
from sotaque.settings import Settings

MODEL = Path("workflow/models/micro.yaml")


@pytest.fixture
def tree(workplace):
    """Three test texts, a base and another network in place of the merged one; at most 6 frames a clip."""
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    spoken.splits(test, [spoken.utterance("train", spoken.TEXTS[3])])
    tiny.base(spoken.BASE, tiny.SMALL)
    tiny.network(spoken.MERGED, tiny.SMALL, hidden=16, layers=2, seed=1)
    spoken.short_generation(max_s=0.1)
    return workplace


def run(system: str, out: str = "", changed: Settings = Settings()) -> tuple[dict, Path]:  # noqa: B008 - frozen
    folder = Path(out or f"wav/{system}")
    network = spoken.MERGED if system == "tuned" else spoken.BASE
    figures = synthesize.run(
        changed, model=MODEL, splits=Path("data/splits"), base=spoken.BASE, network=network, system=system,
        out=folder,
    )  # fmt: skip
    return figures, folder


def rows(folder: Path) -> dict[str, Clip]:
    return {clip.id: clip for clip in manifest.read(folder / "clips.jsonl", Clip)}


def test_too_little_memory_is_said_with_the_way_out(tree, monkeypatch):
    """Faults injected: what torch raises on a card and on a CPU; any other error stays what it is."""
    card = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
    cpu = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    for error in (card, cpu, RuntimeError("a product of other sizes")):

        def greedy(*_, error=error):
            raise error

        monkeypatch.setattr(orpheus.Backend, "generate", greedy)
        lacking = "product" not in str(error)
        with pytest.raises(ModelError if lacking else RuntimeError) as caught:
            run("tuned")
        if lacking:
            assert str(caught.value).startswith(
                f"out of memory in synthesize tuned: {str(error).splitlines()[0]}"
            )
            assert "Lower synthesize.batch_clips" in str(caught.value)


def test_reference_is_the_recording_byte_for_byte(tree):
    figures, folder = run("reference")
    for name, clip in rows(folder).items():
        recording = Path(f"data/wav/00/{name}.wav")
        assert (folder / f"{name}.wav").read_bytes() == recording.read_bytes()
        assert clip == Clip(name, "ok", audio.read_header(recording).duration_s)
    assert figures["clips"] == 3
    assert figures["failed"] == 0


def test_codec_keeps_length_rate_and_loudness(tree):
    _, folder = run("codec")
    for name, clip in rows(folder).items():
        samples, rate_hz = audio.read(folder / f"{name}.wav")
        recording, _ = audio.read(Path(f"data/wav/00/{name}.wav"))
        assert (len(samples), rate_hz) == (len(recording), 24_000)
        assert clip.frames == -(-len(recording) // tiny.FRAME_SAMPLES)
        peak_bound = np.abs(samples).max() > 0.97
        assert peak_bound or loudness.loudness_lufs(samples, rate_hz) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("system", ["codec", "base", "tuned"])
def test_same_bytes_twice(tree, system):
    _, first = run(system, "one")
    _, second = run(system, "two")
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(p.name for p in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert len(names) > 1


def test_tuned_speaks_with_its_own_network_and_the_seed_matters(tree):
    _, base = run("base")
    _, tuned = run("tuned")
    _, other = run("base", "other", dataclasses.replace(Settings(), seed=7))
    assert (base / "t0.wav").read_bytes() != (tuned / "t0.wav").read_bytes()
    assert (base / "t0.wav").read_bytes() != (other / "t0.wav").read_bytes()


def test_a_clip_does_not_depend_on_its_neighbours(tree):
    alone = dataclasses.replace(Settings(), synthesize=settings.Synthesize(batch_clips=1))
    _, together = run("base", "together")
    _, single = run("base", "single", alone)
    for name in ("t0", "t1", "t2"):
        assert rows(together)[name] == rows(single)[name]
        assert np.allclose(
            audio.read(together / f"{name}.wav")[0], audio.read(single / f"{name}.wav")[0], atol=1e-3
        )


class Mute:
    """A model that ends at once on some texts."""

    def __init__(self, backend, silent):
        self.backend, self.silent = backend, silent

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def generate(self, network, prompts: list[Prompt], generation, seeds):
        found = self.backend.generate(network, prompts, generation, seeds)
        return [
            Spoken(one.codes[:0], True) if prompt.text in self.silent else one
            for prompt, one in zip(prompts, found, strict=True)
        ]


def test_a_clip_without_sound_keeps_its_row(tree, monkeypatch):
    real = backends.load
    monkeypatch.setattr(backends, "load", lambda *a: Mute(real(*a), {spoken.TEXTS[1]}))
    figures, folder = run("base")
    assert rows(folder)["t1"] == Clip("t1", "empty", 0.0, 0, True)
    assert not (folder / "t1.wav").exists()
    assert (figures["clips"], figures["failed"]) == (3, 1)


def test_loudness_is_matched_without_clipping():
    tone = 0.01 * np.sin(np.arange(24_000) / 10).astype(np.float32)
    louder = synthesize.match_loudness(tone, 24_000, -23.0)
    assert loudness.loudness_lufs(louder, 24_000) == pytest.approx(-23.0, abs=0.05)
    click = np.zeros(24_000, np.float32)
    click[::6000] = 0.5
    bounded = synthesize.match_loudness(click, 24_000, -5.0)
    assert np.abs(bounded).max() == pytest.approx(synthesize.PEAK, abs=1e-4)
    silence = np.zeros(24_000, np.float32)
    assert synthesize.match_loudness(silence, 24_000, -23.0) is silence
    short = tone[:1000]
    assert synthesize.match_loudness(short, 24_000, -23.0) is short


def test_seeds_are_those_written_here():
    """They are part of every WAV's bytes: a change of the function would change all results unseen."""
    assert synthesize.seed_of(42, "t0") == 1_971_249_189  # first 31 bits of sha256("42:t0")
    assert len({synthesize.seed_of(42, f"t{i}") for i in range(1000)}) == 1000
    assert synthesize.seed_of(42, "t0") != synthesize.seed_of(43, "t0")
    assert all(0 <= synthesize.seed_of(1, str(i)) < 2**31 for i in range(1000))
