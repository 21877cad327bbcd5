"""Four tiny random models in the real layouts, trained a few steps and put side by side on one page.

    python tests/compare_tiny.py FOLDER [CORES]     (make compare-tiny)

makes in FOLDER a working folder like a clone, the four checkpoints as upstream's loaders read them, and a
small demonstration corpus, and runs `snakemake compare` there. The models babble: what is shown is that one
params.yaml adapts all families, and what the page looks like. Only the ASR is the shipped one, so that the
recordings' own row means something. The tests make the same world in one process (conftest.py, `compared`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import families
from conftest import ROOT
from sotaque import __main__ as command_line
from sotaque import files, jobs, settings, yaml_file

MODELS = {
    "orpheus": "orpheus-real",
    "csm": "csm",
    "chatterbox": "chatterbox",
    "openaudio": "openaudio",
}
ABOUT = "random weights in the real layout, a few steps of training: it babbles"
PARAMS = """
model: csm
seed: 1
lr: 1e-2
epochs: 2
shards: 1
lora: {{rank: 4, alpha: 8}}
corpus: {{train_clips: {train}, test_clips: {test}, novel_clips: 0}}
train: {{batch_clips: 2, save_every_steps: 4, precision: float32}}
select: {{clips: 1}}
evaluate: {{speed_clips: 1}}
compare: {{models: [{models}], clips: {clips}}}
tracking: {{enabled: false}}
"""


def prepare(train: int, test: int, clips: int) -> None:
    """params.yaml, the models' files and their checkpoints in the current folder; the corpus is a stage."""
    params = PARAMS.format(train=train, test=test, clips=clips, models=", ".join(MODELS))
    files.write_text(Path("params.yaml"), params.lstrip())
    for model, family in MODELS.items():
        put_model(model, families.FAMILIES[family])


def put_model(model: str, family: families.Family) -> None:
    """A tiny checkpoint on this machine, and the model's file that names its folders."""
    folder = Path("parts") / model
    if not folder.exists():
        folder.mkdir(parents=True)
        family.make(folder.resolve())
        (folder / "asr").symlink_to(ROOT / "assets/micro/asr")
    values = yaml_file.parse(family.spec, model) | {"about": ABOUT}
    values |= {part: {"folder": (folder / part).as_posix()} for part in ("network", "codec", "asr")}
    files.write_text(Path(f"workflow/models/{model}.yaml"), json.dumps(values, indent=2))


def like_a_clone() -> None:
    """What Snakemake reads, in the current folder."""
    shutil.copy(ROOT / "Snakefile", ".")
    for name in ("rules", "profiles"):
        shutil.copytree(ROOT / "workflow" / name, Path("workflow") / name, dirs_exist_ok=True)
    if not Path("profiles").exists():
        Path("profiles").symlink_to("workflow/profiles")


def environment() -> dict[str, str]:
    """For every process of the run: this code, and sizes that a tiny Chatterbox has."""
    before = os.environ.get("PYTHONPATH")
    code = [ROOT / "tests/shrunk", ROOT / "src", *([before] if before else [])]
    return os.environ | {"PYTHONPATH": ":".join(map(str, code)), "HF_HUB_OFFLINE": "1"}


def made(folder: Path) -> Path:
    """The same on six utterances, in this process: every stage but the survey's, model after model."""
    with contextlib.chdir(folder):
        prepare(train=4, test=2, clips=1)
        for model in MODELS:
            how = dataclasses.replace(settings.read(Path("params.yaml")), model=model)
            for job in jobs.of(how):
                if job.stage.word != "survey":
                    command_line.run(job, how)
        if command_line.main(["compare"]) != 0:
            raise AssertionError("the comparison came to no end; what it said stands above")
    return folder


def main(folder: str, cores: str = "all") -> int:
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    prepare(train=8, test=3, clips=3)
    like_a_clone()
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "compare"]
    return subprocess.run(command, env=environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
