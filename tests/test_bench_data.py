"""The benchmarks of data: what they say of loudness, codes, memory and growth is so, seen on a few clips."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench import __main__ as bench
from bench import graph, normalize, place, scale, tokenize

import tiny
from conftest import ROOT
from sotaque import audio, files, jobs, manifest, processor, seal, settings, stamps
from sotaque.data import normalize as stage
from sotaque.manifest import Utterance
from sounds import save, voice


def test_loudness_tells_near_held_and_off(workplace):
    paths = [save(Path(f"raw/{name}.wav"), voice(2.0), subtype="PCM_16") for name in ("a", "b", "c")]
    normalize.click(paths[1:2])
    clips = [Utterance(p.stem, p.as_posix(), "uma frase", "ana", "pt") for p in paths]
    manifest.write(Path("data/manifest/00.jsonl"), clips)
    out = Path("data/wav/00")
    stage.run(
        settings.read(Path("params.yaml")),
        model=Path("m"),
        manifest=Path("data/manifest"),
        shard="00",
        out=out,
    )
    samples, rate_hz = audio.read(out / "c.wav")
    audio.write(out / "c.wav", samples / 2, rate_hz)
    found = normalize.loudness(Path())
    assert found["kept"] == 3
    assert found["within_lu"] < 0.1
    assert found["off"] == {"c": pytest.approx(-23 - 20 * np.log10(2), abs=0.1)}
    assert list(found["held_by_peak"]) == ["b"]
    assert found["held_by_peak"]["b"] < -25


def test_another_code_in_one_clip_is_found(workplace, monkeypatch):
    tiny.world()
    monkeypatch.setattr(tokenize, "TOKENS", Path("data/tokens/tiny"))
    monkeypatch.setattr(place, "CORES", 2)
    loop = {}
    for shard in ("00", "01"):
        array = np.load(f"data/tokens/tiny/{shard}.npy")
        for row in manifest.read(Path(f"data/tokens/tiny/{shard}.jsonl"), tokenize.TokenRow):
            loop[row.id] = array[row.start : row.start + row.length].reshape(-1)
    np.savez(tokenize.LOOP, **loop)
    assert tokenize.different(Path()) == 0
    loop[min(loop)] = loop[min(loop)] + np.int16(1)
    np.savez(tokenize.LOOP, **loop)
    assert tokenize.different(Path()) == 1


def test_the_order_of_the_loop_is_the_orders_of_the_layout():
    """Codes that name their own book and place: 3 frames of 1, 2 and 4 codes."""
    from sotaque.backends.orpheus import layout

    books = [np.arange(3 * count) + 100 * count for count in (1, 2, 4)]
    mine = [books[b][count * frame + which] for frame in range(3) for b, count, which in tokenize.PLACES]
    assert layout.pack([book.astype(np.int16) for book in books]).reshape(-1).tolist() == mine


def test_memory_is_that_of_all_children_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "LOOK_EVERY_S", 0.05)
    hold = "import time; kept = bytearray(60 * 2**20); time.sleep(1)"
    cost = place.cost([[sys.executable, "-c", hold]] * 2, tmp_path, at_once=2)
    assert 60 < cost.peak_mb < 110 < cost.together_mb


def test_a_command_that_fails_stops_a_bench_with_what_it_said(tmp_path, capsys):
    with pytest.raises(subprocess.CalledProcessError):
        place.cost([[sys.executable, "-c", "raise SystemExit('the reason')"]], tmp_path)
    assert "the reason" in capsys.readouterr().err


def test_a_size_that_is_done_is_not_measured_again(workplace, monkeypatch):
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), "clone"], check=True)
    monkeypatch.chdir("clone")
    files.write_json(scale._finished(10), {"code": scale._code(), "figures": {"clips": 10}})
    assert scale.once(10) == {"clips": 10}


@pytest.mark.parametrize(("seconds", "power"), [((10, 100), 1.0), ((10, 50), 0.699), ((10, 1000), 2.0)])
def test_growth_is_a_power_of_the_number_of_clips(seconds, power):
    before, after = ({"clips": n, "cpu_s": s} for n, s in zip((1000, 10_000), seconds, strict=True))
    assert scale.growth(before, after) == power


@pytest.mark.parametrize(("clips", "shards"), [(1, 4), (40_000, 4), (40_001, 5), (100_000, 10)])
def test_shards_are_what_a_user_would_take(clips, shards):
    assert place.shards(clips) == shards


def test_a_pretended_tree_is_one_that_is_finished(workplace):
    text = Path("params.yaml").read_text().replace("corpus: demo ", "corpus: spoken ")
    Path("params.yaml").write_text(text)
    graph.pretend(30)
    found = settings.read(Path("params.yaml"))
    assert stamps.freshen(found) == []
    assert not any(seal.differences(job) for job in jobs.of(found))
    assert len(list(Path("data/wav").glob("*/clip-*.wav"))) == 30


def test_a_table_goes_between_its_own_markers_alone(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    text = "a\n<!-- bench x -->\nold\n<!-- end x -->\nb\n<!-- bench y -->\nmine\n<!-- end y -->\n"
    readme.write_text(text)
    monkeypatch.setattr(bench, "README", readme)
    bench.into_readme("x", "new")
    bench.into_readme("z", "nowhere")
    assert readme.read_text() == text.replace("old", "new")


@pytest.mark.parametrize("name", bench.NAMES)
def test_every_benchmark_has_its_place_in_the_readme(name):
    text = (ROOT / "README.md").read_text()
    assert 0 < text.find(f"<!-- bench {name} -->") < text.find(f"<!-- end {name} -->")


@pytest.mark.parametrize("name", bench.NAMES)
def test_every_table_names_the_hardware_of_its_figures(name):
    table = (
        (ROOT / "README.md").read_text().split(f"<!-- bench {name} -->")[1].split(f"<!-- end {name} -->")[0]
    )
    hardware = json.loads((ROOT / f"bench/results/{name}.json").read_text())["hardware"]
    assert table.endswith(f"\n\nMeasured on {hardware}.\n")


def test_the_hardware_names_processor_cores_and_memory():
    hardware = bench.hardware("graph")
    assert hardware.startswith(processor.describe())
    assert re.search(r", (1 core|[2-9] cores|\d\d+ cores), \d+ GiB, no GPU used$", hardware)


def test_the_settings_that_fap_is_given_are_ours():
    given = normalize.fap_arguments(Path("in"), Path("out"))
    ours = dataclasses.asdict(normalize.WANTED)
    assert given[given.index("--loudness") + 1] == str(ours["loudness_lufs"])
    assert given[given.index("--peak") + 1] == str(ours["peak_dbfs"])
