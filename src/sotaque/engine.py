"""What the Snakefile asks when it is read: the parameters of this run, and what is stale."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sotaque import model_spec, runs, settings, stamps, yaml_file
from sotaque.errors import SotaqueError
from sotaque.settings import Settings

if TYPE_CHECKING:
    from snakemake.workflow import Workflow

FROZEN = "frozen_params"  # the key of --config that hands the frozen file to child processes


def start(path: Path, workflow: Workflow) -> tuple[Settings, Path]:
    """The settings of this run and the file that every command of it reads.

    The main process freezes the parameters, those of `path` with `--config` laid over, and puts the name of
    the frozen file into the command line of the processes that it starts; they read nothing else. A dry run
    writes no parameters. A fault in params.yaml ends the process with its exit status, since Snakemake
    would bury the message under a traceback.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["SOTAQUE_ENGINE"] = "snakemake"
    config = workflow.config_settings
    try:
        if not workflow.is_main_process:
            frozen = Path(config.overwrite_config[FROZEN])
            return runs.read_frozen(frozen), frozen
        parameters = effective(path, config.overwrite_config)
        model_spec.of(parameters)
        if workflow.output_settings.dryrun:
            _preview(parameters)
            return parameters, runs.frozen_path(parameters)
        frozen = runs.start(parameters)
        config.config_args, config.configfiles = [f"{FROZEN}={frozen}"], []
        stamps.freshen(parameters)
        return parameters, frozen
    except SotaqueError as error:
        print(f"snakemake: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_status)
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"snakemake: {error.filename}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(1)


def _preview(parameters: Settings) -> None:
    """Refresh the stamps for a dry run, unless they are those of another run that is alive."""
    obstacle = runs.describe_conflict(parameters)
    if not obstacle:
        stamps.freshen(parameters)
        return
    stale = stamps.list_stale(parameters)
    print(
        f"snakemake: {obstacle}. Below is what that run has still to do. With the parameters given here "
        f"these would run again, and what depends on them: {', '.join(stale) or 'nothing'}",
        file=sys.stderr,
        flush=True,
    )


def effective(path: Path, given: dict[str, Any]) -> Settings:
    """The parameters of `path`, with `given` laid over them.

    given: words, numbers, or nested mappings whose leaves are words, as Snakemake hands them over.
    """
    if not given:
        return settings.read(path)
    values = yaml_file.read(path)
    name = f"{path} with --config"
    if isinstance(values, dict | None):
        values = values or {}
        _lay_over(values, given)
    return settings.of(values, name)


def _lay_over(values: dict[str, Any], given: dict[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, dict):
            values[key] = dict(values[key]) if isinstance(values.get(key), dict) else {}
            _lay_over(values[key], value)
        else:
            values[key] = yaml_file.parse(value, f"--config {key}") if isinstance(value, str) else value
