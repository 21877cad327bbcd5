"""Both real engines over one finished tree whose outputs were written by hand and sealed by the real code."""

import re
import shutil
from pathlib import Path

import pytest

from commands import run
from sotaque import files, jobs, seal, settings, stages, yaml_file

TUNED = {
    "train",
    "select",
    "merge",
    "synthesize-tuned",
    "report",
    *(f"evaluate-tuned-{m}" for m in stages.METRICS),
}


@pytest.fixture
def finished(clone):
    found = settings.read(Path("params.yaml"))
    for job in jobs.of(found):
        for out in job.outs:
            made = out if job.stage.parts else out / "made.txt"
            files.write_text(made, "{}" if made.suffix == ".json" else f"step\n{job.name}\n")
        seal.close(job, seal.wanted(job, found))
    return found


def snakemake_would_run(*options):
    """Names of the jobs of a dry run, as jobs.Job names them."""
    triggers = yaml_file.read(Path("profiles/default/config.yaml"))["rerun-triggers"]
    loud = ("--workflow-profile", "none", "--printshellcmds", "--rerun-triggers", *triggers)
    told = run("snakemake", "-n", "--cores", "1", *loud, *options).stdout
    names = set()
    for words in re.findall(r"^ +sotaque (.*)$", told, re.MULTILINE):
        flags = dict(re.findall(r"--(\w+) +(\S+)", words))
        names.add("-".join((words.split()[0], *(flags[key] for key in stages.STAGES[words.split()[0]].fan))))
    return names


def dvc_would_run():
    told = run("dvc", "repro", "--dry", "--allow-missing").stdout
    return {name.replace("@", "-") for name in re.findall(r"Running stage '(.+)'", told)}


def test_snakemake_has_nothing_to_do_on_what_another_engine_made(finished):
    assert snakemake_would_run() == set()


def test_a_changed_learning_rate_reruns_train_and_what_follows(finished):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("lr: 1e-3", "lr: 1e-4"))
    assert snakemake_would_run() == TUNED


def test_a_learning_rate_on_the_command_line_does_the_same(finished):
    assert snakemake_would_run("--config", "lr=1e-5") == TUNED


def test_a_nested_key_on_the_command_line_is_one_key_of_its_section(finished):
    assert snakemake_would_run("--config", "lora={rank: 16}") == TUNED
    assert snakemake_would_run("--config", "lora={rank: 32}") == set()


def test_a_fault_on_the_command_line_is_named(finished):
    done = run("snakemake", "-n", "--config", "corpus={accent: martian}", check=False)
    assert done.returncode == 2
    assert (
        "params.yaml with --config: corpus.accent is 'martian', allowed: pt-br, es-mx, en-gb" in done.stderr
    )


def test_a_model_that_is_not_pinned_stops_before_anything_runs(clone):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("model: micro ", "model: orpheus-3b "))
    done = run("snakemake", "--cores", "1", check=False)
    assert done.returncode == 2
    assert re.search("orpheus-3b.yaml: network.hub is .* and codec.hub is", done.stderr)
    assert not Path("data").exists()


def test_the_same_number_written_otherwise_changes_nothing(finished):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("lr: 1e-3", "lr: 0.001"))
    assert snakemake_would_run() == set()


def test_dvc_records_what_snakemake_made_without_making_it_again(finished):
    done = run("dvc", "repro")
    told = re.findall(r"^(\S+): up to date$", done.stdout + done.stderr, re.MULTILINE)
    assert set(told) == {job.name for job in jobs.of(finished)}
    assert "Data and pipelines are up to date." in run("dvc", "status").stdout
    assert snakemake_would_run() == set()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("lr: 1e-3", "lr: 1e-4"))
    assert "train" in dvc_would_run()
    assert not dvc_would_run() & {"corpus", "ingest", "split", "fetch", "tokenize-00", "synthesize-base"}


def test_dvc_sees_a_changed_recording_and_a_changed_wav(finished):
    run("dvc", "commit", "--force")
    for folder in ("data/raw/demo", "data/wav/02"):
        files.write_text(Path(folder) / "made.txt", "another sound")
    told = run("dvc", "status").stdout
    assert set(re.findall(r"^(\S+):$", told, re.MULTILINE)) == {"corpus", "ingest", "normalize@02"}
    assert re.findall(r"modified: +(\S+)", told) == ["data/raw/demo", "data/raw/demo", "data/wav/02"]


def test_after_a_checkout_of_dvc_snakemake_finds_nothing_to_do(finished):
    run("dvc", "repro")
    for folder in ("data/raw", "data/wav", "data/splits", "models", "results"):
        shutil.rmtree(folder)
    run("dvc", "checkout")
    assert snakemake_would_run() == set()


def test_a_fault_in_params_stops_snakemake_with_status_2(clone):
    Path("params.yaml").write_text("model: gpt\n")
    done = run("snakemake", "-n", check=False)
    assert done.returncode == 2
    known = ", ".join(sorted(path.stem for path in Path("workflow/models").glob("*.yaml")))
    assert done.stderr.endswith(
        f"\nsnakemake: params.yaml: model is 'gpt', allowed: {known} (the files of workflow/models/)\n"
    )
    assert "Traceback" not in done.stderr
    assert not Path("data").exists()


def test_both_engines_make_the_same_bytes(clone, tmp_path_factory):
    """corpus to splits for real, small: the seals of both trees are equal byte for byte."""
    text = Path("params.yaml").read_text()
    small = text.replace("train_clips: 400", "train_clips: 12").replace("test_clips: 40", "test_clips: 3")
    Path("params.yaml").write_text(small.replace("novel_clips: 20", "novel_clips: 2"))
    run("snakemake", "--cores", "2", "data/splits/seal.json")
    seals = {p: p.read_bytes() for p in Path("data").rglob("*seal.json")}
    shutil.rmtree("data")
    shutil.rmtree("scratch")
    run("dvc", "repro", "split")
    assert {p: p.read_bytes() for p in Path("data").rglob("*seal.json")} == seals
    assert len(seals) == 12
