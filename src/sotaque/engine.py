"""What the Snakefile asks when it is read: the parameters of this run, and what is stale."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sotaque import files, model_spec, settings, stamps, yaml_file
from sotaque.errors import SotaqueError
from sotaque.settings import Settings

EFFECTIVE = Path(".stamps/params.yaml")


def start(path: Path, given: dict[str, Any], is_main: bool) -> tuple[Settings, Path]:
    """The settings of this run and the file that every command of it reads.

    given: the values of `snakemake --config`. is_main: false in the processes that run single jobs,
    which must not touch the stamps. A fault in params.yaml ends the process with its exit status,
    since Snakemake would bury the message under a traceback.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["SOTAQUE_ENGINE"] = "snakemake"
    try:
        params = effective(path, given) if is_main else EFFECTIVE if given else path
        found = settings.read(params, f"{path}{' with --config' if given else ''}")
        model_spec.of(found)
        if is_main:
            stamps.freshen(found)
        return found, params
    except SotaqueError as error:
        print(f"snakemake: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_status)


def effective(path: Path, given: dict[str, Any]) -> Path:
    """The file with the parameters of this run: `path` itself, or a copy of it with `given` laid over.

    given: words, numbers, or nested mappings whose leaves are words, as Snakemake hands them over.
    """
    if not given:
        return path
    values = yaml_file.read(path) or {}
    _lay_over(values, given)
    files.write_text(EFFECTIVE, json.dumps(values, indent=2) + "\n")
    return EFFECTIVE


def _lay_over(values: dict[str, Any], given: dict[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _lay_over(values[key], value)
        else:
            values[key] = yaml_file.parse(value, f"--config {key}") if isinstance(value, str) else value
