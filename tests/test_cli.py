"""The command line as a person meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sotaque import settings


def sotaque(*words, **kwargs):
    return subprocess.run([sys.executable, "-m", "sotaque", *words], capture_output=True, text=True, **kwargs)


CORPUS = ("corpus", "--params", "params.yaml", "--out", "data/raw/demo")


def small(workplace):
    Path("params.yaml").write_text("corpus: {train_clips: 8, test_clips: 2, novel_clips: 0}\n")


@pytest.mark.parametrize(("line", "told"), [
    ("modle: micro", "unknown key modle: 'micro'; did you mean model?"),
    ("lr: fast", "lr is 'fast', expected a number"),
    ("lr: -1", "lr is -1.0, allowed: 0.0 to 1.0"),
    ("model: gpt", "model is 'gpt', allowed: "),
    ("ingest: {language: klingon}", "ingest.language is 'klingon', allowed: pt, es, en, ar"),
    ("lora: [1", "not valid YAML"),
])  # fmt: skip
def test_bad_parameters_are_one_message_and_status_2(workplace, line, told):
    Path("params.yaml").write_text(line + "\n")
    done = sotaque(*CORPUS)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sotaque corpus: params.yaml: ")
    assert told in done.stderr
    assert not Path("data").exists(), "nothing is touched"


def test_a_value_that_is_left_out_is_the_one_of_the_shipped_file(workplace):
    shipped = settings.read(Path("params.yaml"))
    Path("params.yaml").write_text("")
    assert settings.read(Path("params.yaml")) == shipped


def test_missing_parameters_are_named(workplace):
    done = sotaque("corpus", "--params", "nowhere.yaml", "--out", "data/raw/demo")
    assert (done.returncode, done.stderr) == (2, "sotaque corpus: nowhere.yaml: there is no such file\n")


def test_a_path_that_params_do_not_lead_to_is_refused(workplace):
    done = sotaque("corpus", "--params", "params.yaml", "--out", "elsewhere")
    assert done.returncode == 2
    assert "--out is elsewhere, but with params.yaml corpus uses data/raw/demo" in done.stderr


def test_the_help_says_that_another_path_is_refused():
    help_text = " ".join(sotaque("ingest", "--help").stdout.split())
    assert (
        "--out OUT the path that params.yaml leads to, which is the default; any other path is refused"
        in help_text
    )


def test_the_same_command_again_does_nothing(workplace):
    small(workplace)
    assert sotaque(*CORPUS).returncode == 0
    before = {p: p.stat().st_mtime_ns for p in Path("data").rglob("*")}
    again = sotaque(*CORPUS)
    assert "corpus: up to date" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in Path("data").rglob("*")} == before


def test_two_at_once_make_one_output(workplace):
    small(workplace)
    command = [sys.executable, "-m", "sotaque", *CORPUS]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum("corpus: up to date" in text for text in told) == 1


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = ("torch", "mlflow", "transformers", "whisper", "librosa")
    code = f"import sys, sotaque.__main__; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
