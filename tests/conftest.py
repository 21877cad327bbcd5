"""What many tests stand on: a working folder like a fresh clone, with nothing made yet."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Results depend on the number of threads, and so it must not follow from the number of cores. Child processes
# inherit the variable.
THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))


@pytest.fixture(autouse=True)
def threads():
    """Each test starts with THREADS threads, whatever the tests before it have set."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(THREADS)


@pytest.fixture(scope="session")
def subjects(tmp_path_factory):
    """The family of a name under test: one for all tests of a session, whose base nobody may spoil."""
    import families

    return functools.cache(lambda name: families.subject(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def subject(request, subjects):
    """A module names it: pytestmark = parametrize("subject", [...], indirect=True)."""
    return subjects(request.param)


@pytest.fixture
def backend(subject):
    return subject.backend


@pytest.fixture
def network(backend):
    return backend.load_network()


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """A working folder in which four tiny families went the whole chain and were compared."""
    import compare_tiny

    return compare_tiny.made(tmp_path_factory.mktemp("compared"))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working folder with params.yaml and the models' files, and the current directory."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "workflow/models", tmp_path / "workflow/models")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def clone(workplace):
    """A clone of the project with nothing made, and a git repository as DVC wants one."""
    for name in ("Snakefile", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, workplace)
    shutil.copytree(ROOT / "workflow", workplace / "workflow", dirs_exist_ok=True)
    os.symlink("workflow/profiles", workplace / "profiles")
    shutil.copytree(
        ROOT / "src", workplace / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    shutil.copytree(ROOT / "assets/micro", workplace / "assets/micro")
    (workplace / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", workplace / ".dvc")
    subprocess.run(["git", "init", "--quiet"], check=True)
    return workplace
