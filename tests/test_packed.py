"""Products of packed weights against the same products in float64."""

import numba
import numpy as np
import pytest
import torch

from sotaque.backends.orpheus.kernels import array, product
from sotaque.backends.orpheus.step import packed, serves

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if serves(torch.empty(16, 2, dtype=dtype))]


def test_one_case_by_hand():
    """Output o is the sum of its weights (o and 1, by turns of inputs) times 1, 2, 3, 4."""
    weights = torch.ones(16, 4)
    weights[:, ::2] = torch.arange(16.0)[:, None]
    others = torch.zeros(16, 4)  # another layer
    x = torch.zeros(4, 4)
    x[1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for dtype in DTYPES:
        made = product(array(x.to(dtype)), packed([others.to(dtype), weights.to(dtype)])[1])
        assert made[1].tolist() == [4 * o + 6 for o in range(16)]
        assert not made[[0, 2, 3]].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [4, 8, 12, 16, 20])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 2), (48, 34), (256, 768)])
def test_every_row_and_output_is_its_product(dtype, rows, outputs, inputs):
    torch.manual_seed(rows)
    x, weights = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    made = product(array(x), packed([weights])[0])
    assert made.dtype == np.float32
    assert np.allclose(made, (x.double() @ weights.double().T).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "weight",
    [
        torch.empty(15, 2),
        torch.empty(16, 3),
        torch.empty(16, 2, dtype=torch.float64),
        torch.empty(16, 2, dtype=torch.float16),
        torch.empty(16, 2, device="meta"),
    ],
    ids=["outputs", "inputs", "float64", "float16", "elsewhere"],
)
def test_other_weights_have_no_tiles(weight):
    assert not serves(weight)


def test_bfloat16_has_tiles_only_where_the_processor_multiplies_it(monkeypatch):
    weight = torch.empty(16, 2, dtype=torch.bfloat16)
    for able in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_bf16": able})
        assert serves(weight) == able


@pytest.mark.parametrize("name", [None, "generic"])
def test_bfloat16_needs_the_instruction_in_what_numba_compiles_for(monkeypatch, name):
    """Without it LLVM aborts the process."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None if name is None else "")
    assert serves(torch.empty(16, 2, dtype=torch.bfloat16)) == (name is None)
    assert serves(torch.empty(16, 2))
