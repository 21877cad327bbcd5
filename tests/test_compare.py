"""Four tiny families that hear at different rates stand side by side after the whole chain on one corpus."""

import dataclasses
import math
import os
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

import compare_tiny
import pages
import seals
from conftest import ROOT
from sotaque import __main__ as command_line
from sotaque import audio, files, jobs, manifest, settings, times
from sotaque.errors import InputError
from sotaque.evaluation.comparison import alike, chains, entry
from sotaque.evaluation.page import words
from sotaque.stages import SYSTEMS

MODELS = tuple(compare_tiny.MODELS)
FIRST, OTHER = MODELS[0], MODELS[-1]  # data/ is as the last one wants it
BUFFERS = ("embed_sum", "cluster_usage", "initialized")  # of Mimi's codebooks: no parameters
PAGE, TABLE = Path("results/compare.html"), Path("results/compare.json")
LARGE = 100_000  # bytes: nobody spoils so large a file


def chosen(**changes) -> settings.Settings:
    return dataclasses.replace(settings.read(Path("params.yaml")), **changes)


@pytest.fixture
def made(compared, monkeypatch):
    monkeypatch.chdir(compared)


@pytest.fixture
def world(compared, tmp_path, monkeypatch):
    """A copy of it, to be spoilt."""
    shutil.copytree(compared, tmp_path / "world", symlinks=True, copy_function=light_copy)
    monkeypatch.chdir(tmp_path / "world")


def light_copy(source, target):
    os.link(source, target) if os.path.getsize(source) > LARGE else shutil.copy2(source, target)


def refused(capsys, *arguments: str) -> str:
    status = command_line.main(["compare", *arguments])
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert "Traceback" not in said
    return said


def test_the_table_holds_the_figures_of_each_report(made):
    value = files.read_json(TABLE)
    assert set(value["models"]) == set(MODELS)
    for model, row in value["models"].items():
        metrics = files.read_json(Path(f"results/{model}/metrics.json"))
        assert row["systems"] == metrics["systems"]
        assert set(row["systems"]) == set(SYSTEMS)
        assert row["weights_licence"] == "none"
        assert row["training_s"] > 0
        assert row["systems"]["tuned"]["rtf"] > 0
        assert set(row["text"]) == {"pt"}
    assert {part: v["clips"] for part, v in value["splits"].items()} == {"train": 3, "val": 1, "test": 2}


def test_the_parameters_are_those_in_the_merged_file(made):
    [path] = Path("models/csm/merged").glob("*.safetensors")
    with safe_open(path, "pt") as stream:
        shapes = {key: stream.get_slice(key).get_shape() for key in stream.keys()}  # noqa: SIM118
    learnt = [shape for key, shape in shapes.items() if not key.endswith(BUFFERS)]
    expected = sum(math.prod(shape) for shape in learnt)
    assert files.read_json(TABLE)["models"]["csm"]["parameters"] == expected


def test_splits_at_two_rates_are_the_same_splits(made):
    """The WAVs of the test clips differ in their rate, and the clips are alike."""
    [clip, _] = manifest.read(Path("data/splits/test.jsonl"))
    rates = {m: audio.read(Path(f"results/{m}/wav/reference/{clip.id}.wav"))[1] for m in MODELS}
    assert rates == dict.fromkeys(MODELS, 24_000) | {"openaudio": 44_100}
    first, *others = (files.read_json(Path(f"results/{m}/metrics.json"))["splits"] for m in MODELS)
    assert all(other == first for other in others)


def test_the_page_shows_every_model_and_plays_its_sound(made):
    page = PAGE.read_text()
    pages.assert_needs_nothing_from_outside(page)
    reader = pages.Reader(page)
    said = reader.words()
    rows = [row["class"].removeprefix("system-") for row in reader.of("tr") if "class" in row]
    assert rows == [*SYSTEMS] * len(MODELS)
    for model in MODELS:
        row = files.read_json(TABLE)["models"][model]
        assert words.parameters(row["parameters"]) in said
        assert words.duration(row["training_s"]) in said
        assert row["text"]["pt"] in said
    assert "depth_share 0.5" in said
    assert "text_drop 0.15" in said
    columns = ["reference", *(f"{model}, tuned" for model in MODELS)]
    assert [cell["data-system"] for cell in reader.of("td") if "data-system" in cell] == columns
    [clip] = [c for c in manifest.read(Path("data/splits/test.jsonl")) if c.text in said]
    players = [player["src"] for player in reader.of("audio")]
    sources = [f"{FIRST}/wav/reference/{clip.id}.wav", *(f"{m}/wav/tuned/{clip.id}.wav" for m in MODELS)]
    for player, source in zip(players, sources, strict=True):
        samples, rate_hz = audio.read(Path("results") / source)
        assert pages.samples_of(player)[1] == rate_hz
        assert len(pages.samples_of(player)[0]) == 2 * len(samples)


def test_the_same_results_make_the_same_page(world):
    before = PAGE.read_bytes(), TABLE.read_bytes()
    assert command_line.main(["compare"]) == 0
    assert (PAGE.read_bytes(), TABLE.read_bytes()) == before


def test_a_training_time_that_was_taken_elsewhere_is_unknown(world):
    shutil.rmtree(times.FOLDER)
    assert command_line.main(["compare"]) == 0
    assert files.read_json(TABLE)["models"]["csm"]["training_s"] is None


def test_a_model_that_came_to_its_end_is_not_made_for_again(world):
    """data/ is now at the rate of the last model: the first one is nevertheless what it was."""
    for model in MODELS:
        report = Path(f"results/{model}/report.seal.json")
        mark = chains._mark(chains._key(chosen(model=model)), report)
        files.write_json(chains.FOLDER / f"{model}.mark.json", mark)
    chains.make(chosen(), MODELS, 1)
    assert not (chains.FOLDER / "csm.json").exists(), "Snakemake was not asked"
    assert chains._key(chosen(model="csm", lr=0.5)) != chains._key(chosen(model="csm"))


def test_every_model_without_a_report_is_named_with_the_command(world, capsys):
    for model in MODELS:
        Path(f"results/{model}/report.seal.json").unlink()
    said = refused(capsys)
    for model in MODELS:
        assert f"results/{model}/report.seal.json" in said
        assert f"snakemake --cores all --config model={model}" in said


def test_other_splits_are_refused_with_the_difference(world, capsys):
    """One test text is corrected, and the second model's report made again."""
    path = Path("data/splits/test.jsonl")
    [changed, _] = manifest.read(path)
    rows = [
        dataclasses.replace(u, text=f"{u.text} Sim." if u.id == changed.id else u.text)
        for u in manifest.read(path)
    ]
    manifest.write(path, rows)
    how = chosen(model=OTHER)
    seals.write(how, [path.with_name("seal.json")])
    job = next(job for job in jobs.of(how) if job.name == "report")
    Path(f"results/{OTHER}/metrics.json").unlink()
    command_line.run(job, how)
    said = refused(capsys)
    assert f"{OTHER} cannot stand beside {FIRST}: test: 2 clips (" in said
    assert "train:" not in said


def test_clips_that_one_model_alone_was_heard_on_are_named(made):
    first, second = entry.read(chosen(), (FIRST, OTHER))
    splits = first.metrics["splits"] | {"test": {"clips": 0, "sha256": "0" * 64}}
    wer = second.results["tuned"]["wer"] | {"rows": []}
    results = second.results | {"tuned": second.results["tuned"] | {"wer": wer}}
    other = dataclasses.replace(second, metrics=second.metrics | {"splits": splits}, results=results)
    with pytest.raises(
        InputError, match=rf"test: 2 clips .* of {FIRST}, 0 clips .* test clips of {FIRST} alone: \w+"
    ):
        alike.check([first, other])


def test_models_that_were_not_heard_by_the_same_asr_are_refused(made):
    first, second = entry.read(chosen(), (FIRST, OTHER))
    other = dataclasses.replace(
        second, measured_with=second.measured_with | {"the ASR": {"base/asr/large-v3.pt": "f" * 64}}
    )
    with pytest.raises(
        InputError, match=rf"the ASR differs .*micro.pt.* of {FIRST}, .*large-v3.pt.* of {OTHER}"
    ):
        alike.check([first, other])


def test_a_changed_figure_is_found(world, capsys):
    path = Path("results/csm/metrics.json")
    path.write_text(path.read_text().replace('"wer"', '"wer" '))
    assert "results/csm/metrics.json: sha256 is" in refused(capsys)


def test_results_that_were_made_again_since_the_report_are_found(world, capsys):
    path = Path("results/openaudio/tuned/wer.seal.json")
    path.write_text(path.read_text() + " ")
    said = refused(capsys)
    assert f"{path}: not what the report of openaudio was made from" in said
    assert "snakemake --cores all --config model=openaudio" in said


@pytest.mark.parametrize(("models", "said"), [
    ("[csm, nemo]", "names nemo"), ("[csm, csm]", "names csm twice"), ("[]", "is empty"),
])  # fmt: skip
def test_models_that_cannot_be_named_so(world, capsys, models, said):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace(f"models: [{', '.join(MODELS)}]", f"models: {models}"))
    found = refused(capsys)
    assert f"compare.models {said}" in found
    assert ", ".join(sorted(MODELS)) in found


def test_the_target_of_the_snakefile_is_asked_for_by_name_alone():
    """`snakemake` makes one model; the comparison is made when it is named."""
    assert "compare" not in (ROOT / "Snakefile").read_text()
    assert "rule compare:" in (ROOT / "workflow/rules/evaluation.smk").read_text()
