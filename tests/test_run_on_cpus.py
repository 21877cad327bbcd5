"""make test-cpus: what it runs, what it counts, and what it says of a processor that is not at hand."""

import pytest

import run_on_cpus
from run_on_cpus import Setting
from sotaque import processor

CASES = """
import os
import pytest

def test_passes(): assert os.environ["HELD_TO"] == "old"
def test_fails(): assert os.environ["HELD_TO"] == "new"
def test_is_left_out(): pytest.skip("not here")
@pytest.fixture
def broken(): raise ValueError
def test_cannot_begin(broken): pass
"""
HELD = Setting("held", {"HELD_TO": "old"})


def test_every_outcome_is_counted(tmp_path):
    (tmp_path / "test_cases.py").write_text(CASES)
    row, failed = run_on_cpus.run(HELD, [tmp_path / "test_cases.py"])
    assert row == "| held | HELD_TO=old | 1 | 2 |"
    assert [name.rpartition("::")[2] for name in failed] == ["test_fails", "test_cannot_begin"]


def test_a_process_that_dies_is_a_failure(tmp_path):
    (tmp_path / "test_dies.py").write_text("import os\ndef test_dies(): os.abort()\n")
    row, failed = run_on_cpus.run(HELD, [tmp_path / "test_dies.py"])
    assert row == "| held | HELD_TO=old | ended with status -6 | |"
    assert failed


def test_what_the_processor_lacks_is_not_run(monkeypatch, capsys):
    monkeypatch.setattr(processor, "instruction_sets", lambda: ("avx2",))
    assert run_on_cpus.main(["--setting", "oneDNN AMX", "nothing_to_run.py"]) == 0
    row = "| oneDNN AMX | ONEDNN_MAX_CPU_ISA=AVX10_1_512_AMX | not run: this processor has no amx_bf16 | |"
    assert row in capsys.readouterr().out


@pytest.mark.parametrize("name", ["test_contract.py", "test_encoder.py", "test_vad.py", "test_train.py"])
def test_what_computes_is_run(name):
    assert name in [path.name for path in run_on_cpus.computing_files()]


def test_every_need_is_an_instruction_set_that_is_looked_for():
    assert {setting.needs for setting in run_on_cpus.SETTINGS} <= {"", *processor.INSTRUCTION_SETS}
