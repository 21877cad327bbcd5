"""What many tests stand on: a working folder like a fresh clone, with nothing made yet."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working folder with params.yaml and the models' files, and the current directory."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "workflow/models", tmp_path / "workflow/models")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
