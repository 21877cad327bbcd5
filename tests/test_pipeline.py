"""The Snakefile, dvc.yaml and the table in stages/ must describe the same jobs."""

import dataclasses
import shlex
from collections import Counter
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import load_yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

from conftest import ROOT
from imports import closure
from sotaque import jobs as jobs_module
from sotaque import manifest, runs, settings, stages, yaml_file

# What shapes no byte of a result: values reach the seals as parameters.
HOUSE = {
    *(
        "__init__.py",
        "errors.py",
        "files.py",
        "progress.py",
        "checksums.py",
        "seal.py",
        "settings",
        "stages",
        "jobs.py",
        "metrics/__init__.py",
    ),
    *("training/tracking.py", "training/mlflow_runs.py", "training/loggers.py", "yaml_file.py"),
}
UNSEALED = {
    *("training/tracking.py", "training/mlflow_runs.py", "training/loggers.py", "training/gate.py"),
    *("evaluation/summary.py", "data/export.py", "evaluation/compare.py"),
    *(f"evaluation/comparison/{name}.py" for name in ("alike", "chains", "entry", "page")),
}
REMEDY = "change the Snakefile's rules, dvc.yaml and src/sotaque/stages/ together"


@pytest.fixture(scope="module")
def jobs():
    import os

    before = Path.cwd()
    os.chdir(ROOT)
    yield {command(job): job for job in jobs_module.of(settings.read(Path("params.yaml")))}
    os.chdir(before)


def command(job):
    flags = [*((key, value) for key, value in job.fan.items()), *job.reads.items(), ("out", job.out)]
    words = ["sotaque", job.stage.word, "--params", "params.yaml"]
    return (*words, *(word for flag, value in flags for word in (f"--{flag}", str(value))))


@pytest.fixture(scope="module")
def snakemake_jobs(jobs):
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        flow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        workflow = flow.dag(dag_settings=DAGSettings(forceall=True)).workflow_api._workflow
        workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        return {snakemake_command(job): job for job in workflow.dag.jobs if job.rule.name != "all"}


def snakemake_command(job):
    """The command, with params.yaml for the file that the run froze."""
    words = shlex.split(job.shellcmd.split("2>&1 | tee")[0])
    frozen = words[words.index("--params") + 1]
    assert runs.is_frozen(Path(frozen))
    return tuple("params.yaml" if word == frozen else word for word in words)


def dvc_command(job):
    """Without paths: no name that stands in params.yaml comes into a shell."""
    flags = [word for key, value in job.fan.items() for word in (f"--{key}", value)]
    return ("sotaque", job.stage.word, "--params", "params.yaml", *flags)


@pytest.fixture(scope="module")
def dvc_stages(jobs):
    found = {tuple(shlex.split(stage.cmd)): stage for stage in Repo(".").index.stages}
    assert_equal(found, {dvc_command(job) for job in jobs.values()}, "dvc.yaml")
    return {words: found[dvc_command(job)] for words, job in jobs.items()}


def assert_equal(found, expected, where):
    found, expected = set(found), set(expected)
    missing, extra = expected - found, found - expected
    assert not missing, f"{where} lacks {sorted(map(str, missing))}; {REMEDY}"
    assert not extra, f"{where} has besides {sorted(map(str, extra))}; {REMEDY}"


def test_both_engines_run_the_commands_of_the_table(jobs, snakemake_jobs, dvc_stages):
    assert_equal(snakemake_jobs, jobs, "the Snakefile")
    assert_equal(dvc_stages, jobs, "dvc.yaml")


def test_snakemake_reads_and_writes_what_the_table_says(jobs, snakemake_jobs):
    for words, job in jobs.items():
        found = snakemake_jobs[words]
        stamp = f".stamps/{job.stage.word}.json"
        assert_equal(set(found.input), {stamp, *map(str, job.seals)}, f"input of {job.name}")
        assert str(job.seal) in found.output
        assert set(found.output) <= {str(job.seal), *map(str, job.outs)}


def sources_of(stage):
    return {"assets/micro"} if stage.word == "fetch" else set()


def test_dvc_reads_and_writes_what_the_table_says(jobs, dvc_stages):
    makers = {str(job.seal): job for job in jobs.values()}
    for words, job in jobs.items():
        deps = {dep.def_path for dep in dvc_stages[words].deps if not hasattr(dep, "params")}
        code = {f"src/sotaque/{name}" for name in job.stage.code}
        assert_equal(deps & code, code, f"code among the deps of {job.name}")
        wanted = set(map(str, job.seals))
        found = expand(deps - code - sources_of(job.stage), makers.keys())
        assert_equal(found | wanted & held(found, makers), wanted, f"deps of {job.name}")
        outs = {out.def_path for out in dvc_stages[words].outs}
        expected = {*map(str, job.outs), *([str(job.seal)] if job.stage.parts else [])}
        assert_equal(outs, expected, f"outs of {job.name}")


def expand(deps, seals):
    """A dependency on a folder is one on every seal below it."""
    return {seal for dep in deps for seal in seals if seal == dep or seal.startswith(f"{dep}/")} | {
        dep for dep in deps if not any(seal == dep or seal.startswith(f"{dep}/") for seal in seals)
    }


def held(seals, makers):
    """The seals whose checksums stand in these, or in one that these hold: no change of them is missed."""
    found = set()
    for job in (makers[seal] for seal in seals if seal in makers):
        inside = {str(seal) for seal in job.seals if seal not in job.takes}
        found |= inside | held(inside, makers)
    return found


def test_dvc_looks_at_the_wavs_of_a_shard_for_one_stage_alone(dvc_stages):
    """A hundred thousand clips are a hundred thousand looks each time."""
    deps = {dep.def_path for stage in dvc_stages.values() for dep in stage.deps}
    wavs = {dep for dep in deps if within(dep, ["data/wav"]) or within("data/wav", [dep])}
    assert {Path(dep).name for dep in wavs} == {"seal.json"}, f"deps on {sorted(wavs)}; a seal is enough"


def test_dvc_watches_the_parameters_of_the_table(jobs, dvc_stages):
    for words, job in jobs.items():
        found = Counter()
        for dep in dvc_stages[words].deps:
            found.update((dep.def_path, key) for key in getattr(dep, "params", ()))
        model = f"workflow/models/{job.fan.get('model', 'micro')}.yaml"
        expected = {
            *(("params.yaml", key) for key in job.stage.params),
            *((model, key) for key in job.stage.spec),
        }
        assert_equal(found, expected, f"params of {job.name}")


def test_the_code_of_every_stage_is_there(jobs):
    for job in jobs.values():
        for name in job.stage.code:
            assert (ROOT / "src/sotaque" / name).exists(), (
                f"{job.stage.word} names {name}, which is not there"
            )


def within(path, names):
    return any(path == name or path.startswith(f"{name}/") for name in names)


@pytest.mark.parametrize("word", stages.STAGES)
def test_the_code_of_a_stage_holds_all_that_it_imports(word):
    stage = stages.STAGES[word]
    name = "/".join(stage.module.split(".")[1:]) + ".py"
    missing = {path for path in closure(name) if not within(path, {*HOUSE, *stage.code})}
    assert not missing, f"{word} imports {sorted(missing)}, which its code in stages/ does not name; {REMEDY}"


def test_the_table_grows_no_faster_than_the_number_of_its_edges():
    """The product of a sharded stage with itself would be a million at 1,000 shards."""
    formatted = Counter()

    class Counted(str):
        def format(self, **values):
            formatted["paths"] += 1
            return super().format(**values)

    before = {}
    for shards in (100, 1000):
        formatted.clear()
        patched = {
            word: dataclasses.replace(stage, out=Counted(stage.out)) for word, stage in stages.STAGES.items()
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs_module, "STAGES", patched)
            made = jobs_module.of(settings.Settings(shards=shards))
        before[shards] = formatted["paths"]
        table = {job.name: job for job in made}
        assert len(table["train"].seals) == shards + 2
        shard = manifest.shard_name(7, shards)
        expected = (f"data/wav/{shard}/seal.json", "models/micro/base/seal.json")
        assert tuple(map(str, table[f"tokenize-{shard}"].seals)) == expected
    assert before[1000] < 11 * before[100]


def test_the_shards_of_dvc_are_those_of_the_parameters():
    variables = load_yaml(ROOT / "dvc.yaml")["vars"]
    declared = next(value["shard_names"] for value in variables if "shard_names" in value)
    count = yaml_file.read(ROOT / "params.yaml")["shards"]
    assert declared == [f"{i:02d}" for i in range(count)], "shard_names in dvc.yaml must agree with shards"


def test_every_module_under_a_stage_is_watched_by_some_stage():
    """A module whose bytes no seal watches could change a result unseen."""
    watched = {name for stage in stages.STAGES.values() for name in stage.code}
    rooms = ("data", "backends", "training", "evaluation", "metrics")
    for path in sorted(p for room in rooms for p in (ROOT / "src/sotaque" / room).rglob("*.py")):
        name = path.relative_to(ROOT / "src/sotaque").as_posix()
        if path.name == "__init__.py" or name in UNSEALED:
            continue
        assert within(name, watched), f"no stage's code names {name}"
