"""The processor's name, from /proc/cpuinfo of machines that this one is not."""

import pytest

from sotaque import processor

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile

processor\t: 1
model name\t: another core
"""
EPYC = """processor\t: 0
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16
"""
RISC_V = "processor\t: 0\nisa\t\t: rv64imafdc\n"


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    processor._fields.cache_clear()
    yield tmp_path / "cpuinfo"
    processor._fields.cache_clear()


@pytest.mark.parametrize(("content", "description"), [
    (XEON, "Intel(R) Xeon(R) Processor, family 6, model 143 "
           "(avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16)"),
    (EPYC, "AMD EPYC, family 25, model 17 (avx2 avx512f avx512_vnni avx512_bf16)"),
])  # fmt: skip
def test_generations_of_one_name_are_told_apart(cpuinfo, content, description):
    cpuinfo.write_text(content)
    assert processor.describe() == description


@pytest.mark.parametrize("content", [None, RISC_V])
def test_a_processor_without_a_name_has_that_of_its_architecture(cpuinfo, monkeypatch, content):
    if content is not None:
        cpuinfo.write_text(content)
    monkeypatch.setattr(processor.platform, "processor", lambda: "")
    monkeypatch.setattr(processor.platform, "machine", lambda: "riscv64")
    assert processor.describe() == "riscv64"
    assert processor.instruction_sets() == ()
