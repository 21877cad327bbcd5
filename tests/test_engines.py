"""Both real engines over one finished tree whose outputs were written by hand and sealed by the real code."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from commands import run
from sotaque import files, jobs, seal, settings, stages, yaml_file
from sotaque.errors import SettingsError
from sounds import save, voice

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


CORPORA = ("Conceição 2", "x; touch y #", '-n it\'s "$(touch z)" `touch w` {shard} ${model} %s *')


def executed():
    return [name for name in "wxyz" if Path(name).exists()]


@pytest.mark.parametrize("engine", [("snakemake", "--cores", "1", "data/manifest/seal.json"),
                                    ("dvc", "repro", "ingest")])  # fmt: skip
def test_a_corpus_folder_may_have_any_name_and_no_shell_sees_it(clone, engine):
    for name in CORPORA:
        sound = save(Path("data/raw") / name / "wavs/c1.wav", voice(0.6))
        (sound.parents[1] / "metadata.csv").write_text("c1|Frase número um.\n")
        write_params(name)
        run(*engine)
        assert json.loads(Path("data/manifest/00.jsonl").read_text())["audio"] == sound.as_posix()
    assert executed() == []


def write_params(corpus, model="micro"):
    values = {"model": model, "shards": 1, "ingest": {"corpus": corpus}}
    values |= {"fetch": {"offline": True}, "tracking": {"enabled": False}}
    Path("params.yaml").write_text(json.dumps(values))


def test_a_model_whose_name_a_shell_could_run_is_refused(clone):
    for name in ("m$(touch x)", "m; touch y #", "m'`touch z`'"):
        shutil.copyfile("workflow/models/micro.yaml", f"workflow/models/{name}.yaml")
        write_params("demo", name)
        for engine in (("snakemake", "--cores", "1"), ("dvc", "repro", "fetch")):
            done = run(*engine, check=False)
            assert done.returncode != 0
            told = done.stdout + done.stderr
            assert f"params.yaml: model is {name!r}, expected at most 64 of the letters" in told
            assert executed() == []


@pytest.mark.parametrize("name", ["../models/micro", "-m", "a b", ".", "", "a\nb", "ação"])
def test_a_model_has_a_plain_name(workplace, name):
    write_params("demo", name)
    with pytest.raises(SettingsError, match="expected at most 64 of the letters"):
        settings.read(Path("params.yaml"))


@pytest.mark.parametrize("name", ["a\nb", "a/b", "..", "", "a\u2028b"])
def test_a_corpus_that_is_no_name_of_a_folder_is_refused(workplace, name):
    write_params(name)
    with pytest.raises(SettingsError, match="expected the name of a folder under data/raw/"):
        settings.read(Path("params.yaml"))


def test_snakemake_heals_damaged_seals_and_times_ahead_of_the_clock(clone):
    """A real tree, damaged in each of its stages; the second run ends with the same bytes."""
    for number in range(4):
        save(Path(f"data/raw/mine/wavs/c{number}.wav"), voice(0.6 + number / 10))
    Path("data/raw/mine/metadata.csv").write_text("".join(f"c{n}|Frase número {n}.\n" for n in range(4)))
    Path("params.yaml").write_text(
        "model: micro\nshards: 2\ningest: {corpus: mine}\ntracking: {enabled: false}\n"
    )
    goal = ("snakemake", "--cores", "1", "data/wav/00/seal.json", "data/wav/01/seal.json")
    run(*goal)
    whole = {path: path.read_bytes() for path in files.walk(Path("data"))}
    Path("data/manifest/seal.json").write_bytes(b"")
    Path("data/wav/00/seal.json").write_text('{"stage": "nor')
    Path("data/wav/01/seal.json").unlink()
    Path("data/wav/01/seal.json").mkdir()
    for path in Path("scratch/seals").glob("data-wav-*"):
        path.write_text("[]")
    ahead = time.time() + 1_000_000
    os.utime("data/manifest/seal.json", (ahead, ahead))
    os.utime(".stamps/normalize.json", (ahead, ahead))
    done = run(*goal)
    assert "clock skew" not in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in files.walk(Path("data"))} == whole
    assert "Nothing to be done" in run(*goal).stderr


def test_a_comparison_that_makes_what_is_missing_is_no_other_run(finished):
    """Its Snakemake has another model than the run that it is a job of."""
    shutil.copyfile("workflow/models/micro.yaml", "workflow/models/twin.yaml")
    done = run("snakemake", "--cores", "1", "compare", "--config", "model=twin", check=False)
    told = done.stdout + done.stderr + Path("logs/compare.log").read_text()
    assert "compare: making what is missing of micro" in told
    assert "Nothing to be done" in told
    assert "another run with other parameters" not in told
    frozen = Path(".stamps").glob("params-*.yaml")
    assert {json.loads(path.read_text())["model"] for path in frozen} == {"twin", "micro"}
