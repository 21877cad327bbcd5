"""The first stages as a person runs them: commands in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

CORPUS = Path("data/raw/mine")
COMMANDS = {
    "ingest": "ingest --corpus data/raw/mine --out data/manifest",
    "normalize": "normalize --shard 00 --model workflow/models/{model}.yaml --manifest data/manifest "
    "--out data/wav/00",
    "tokenize": "tokenize --shard 00 --model workflow/models/{model}.yaml --wav data/wav/00 "
    "--base models/{model}/base --out data/tokens/{model}/00",
}
PARAMS = """
model: {model}
shards: 1
ingest: {{corpus: mine, max_rejected_share: 1.0}}
tracking: {{enabled: false}}
"""


def folder(where: Path, model: str = "micro") -> Path:
    """A working folder with params.yaml, one shard and an empty corpus; returns the corpus."""
    (where / CORPUS).mkdir(parents=True)
    shutil.copytree(ROOT / "workflow/models", where / "workflow/models", dirs_exist_ok=True)
    (where / "params.yaml").write_text(PARAMS.format(model=model))
    return where / CORPUS


def words(stage: str, model: str = "micro") -> list[str]:
    return COMMANDS[stage].format(model=model).split()


def sotaque(where: Path, stage: str, *before: str) -> subprocess.CompletedProcess:
    """Run a stage that must end well, through the command `before` where one is given."""
    command = [*before, sys.executable, "-m", "sotaque", *words(stage)]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def rows(path: Path) -> dict[str, dict]:
    """The rows of a manifest by id."""
    return {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def environment() -> dict[str, str]:
    """That of a command whose `sotaque` is the source of the working folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(Path("src").resolve())}


def run(*command, check=True):
    """An engine or a stage in the current folder, a clone of the project."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done
