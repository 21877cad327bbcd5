# Reads params.yaml once, by the same door as the command line, freezes it for this run, and lets the seals
# say what is stale.
#
# in   params.yaml, `--config key=value`
# out  SETTINGS, PARAMS (the frozen file that every command reads), .stamps/

from pathlib import Path
from shutil import which

from sotaque import engine, jobs, manifest, stages

SETTINGS, PARAMS = engine.start(Path("params.yaml"), workflow)
SHARDS = manifest.shard_names(SETTINGS.shards)


def network(wildcards):
    """The folder whose network a system speaks with."""
    return f"models/{wildcards.model}/{jobs.network_of(wildcards.system)}"


# Only `--sdm apptainer` looks at it; make the environment in the same image first:
# apptainer exec docker://python:3.11-bookworm make install
container: "docker://python:3.11-bookworm"


# Jobs that use the card take turns; without one there is nothing to take turns for.
GPU = 1 if which("nvidia-smi") else 0


wildcard_constraints:
    model="[A-Za-z0-9_][A-Za-z0-9._-]*",
    shard=r"\d+",
    system="|".join(stages.SYSTEMS),
    metric="|".join(stages.METRICS),
