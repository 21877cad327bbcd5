"""bfloat16 as loops see it, against torch's own conversion."""

import numba
import numpy as np
import torch

from sotaque.backends.orpheus.kernels import _narrow, _wide, array


@numba.njit
def widened(bits):
    made = np.empty(len(bits), np.float32)
    for i in range(len(bits)):
        made[i] = _wide(bits[i])
    return made


@numba.njit
def narrowed(numbers, made):
    for i in range(len(numbers)):
        made[i] = _narrow(numbers[i], made[i])
    return made


def test_every_bfloat16_becomes_the_float32_of_its_value():
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    assert np.array_equal(widened(array(every)), every.float().numpy(), equal_nan=True)


def test_a_float32_becomes_the_nearest_bfloat16_and_the_even_one_of_two():
    torch.manual_seed(0)
    halfway = (torch.arange(0, 2**31, 2**15, dtype=torch.int64)).to(torch.int32).view(torch.float32)
    numbers = torch.cat(
        [halfway[halfway.isfinite()], -halfway[:100], torch.randn(10_000), torch.tensor([torch.inf])]
    )
    expected = numbers.to(torch.bfloat16)
    made = narrowed(numbers.numpy(), np.empty(len(numbers), np.uint16))
    assert np.array_equal(made, array(expected))
    least = 2.0**-133  # of the bfloat16s above zero
    assert numbers[1] == 0.5 * least
    assert numbers[3] == 1.5 * least
    assert expected[[1, 3]].tolist() == [0, 2 * least]


def test_float32_stays_as_it_is():
    numbers = torch.randn(100)
    assert array(numbers).ctypes.data == numbers.data_ptr()
    assert np.array_equal(narrowed(widened(numbers.numpy()), np.empty(100, np.float32)), numbers.numpy())
