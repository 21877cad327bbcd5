"""All layers in one call: which networks take it, and that it says what the layers say one by one."""

import numba
import numpy as np
import pytest
import torch

from sotaque.backends.orpheus import decoder as decoders
from sotaque.backends.orpheus.decoder import Decoder
from sotaque.backends.orpheus.kernels import exp
from sotaque.backends.orpheus.step import Step
from test_decoder import FOLLOWING, MAKERS, PROMPTS, network
from test_packed import DTYPES

ATOL = {torch.float32: 1e-4, torch.bfloat16: 0.15}
PLAIN = ["plain", "head size of its own", "stretched positions"]


@pytest.fixture(autouse=True)
def one_thread(threads):
    torch.set_num_threads(1)


def layer_by_layer(llama, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(decoders, "_at_once", lambda *_: None)
        return Decoder(llama, PROMPTS, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maker", PLAIN)
@torch.inference_mode()
def test_it_is_what_the_layers_say_in_float64(maker, dtype, monkeypatch):
    rounded, exact = MAKERS[maker]().to(dtype), MAKERS[maker]()
    exact.load_state_dict(rounded.state_dict())
    made, expected = Decoder(rounded, PROMPTS, 4), layer_by_layer(exact, monkeypatch)
    assert isinstance(made._step, Step)
    assert not isinstance(expected._step, Step)
    rows = torch.arange(3)
    for number in range(4):
        if number == 2:
            rows = torch.tensor([2, 0])
            made.keep(rows)
            expected.keep(rows)
        ids = FOLLOWING[rows, number]
        hidden = made.step(ids)
        assert hidden.dtype == dtype
        assert torch.allclose(hidden.double(), expected.step(ids), atol=ATOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_five_rows_and_more_say_what_each_says_alone(dtype):
    """Rows that fill up a tile are not heard."""
    llama = network().to(dtype)
    prompts = [[5 + row, 6, 7 + row] for row in range(9)]
    ids = torch.arange(20, 29)
    together = Decoder(llama, prompts, 1).step(ids)
    for row, prompt in enumerate(prompts):
        alone = Decoder(llama, [prompt], 1).step(ids[row, None])
        assert torch.allclose(together[row], alone[0], atol=ATOL[dtype])


@torch.inference_mode()
def test_what_is_not_filled_is_not_heard():
    """Memory before a prompt and after the new token may hold anything, even what is no number."""
    llama = network().float()
    clean, dirty = Decoder(llama, PROMPTS, 4), Decoder(llama, PROMPTS, 4)
    for row, prompt in enumerate(PROMPTS):
        dirty._step._past[:, row, :, : 7 - len(prompt)] = np.nan
    dirty._step._past[..., 7:, :] = np.nan
    assert torch.equal(dirty.step(FOLLOWING[:, 0]), clean.step(FOLLOWING[:, 0]))


def with_(change):
    llama = network().float()
    change(llama)
    return llama


@pytest.mark.parametrize(
    "maker",
    [
        network,
        lambda: MAKERS["biases"]().float(),
        lambda: MAKERS["adapted"]().float(),
        lambda: network(hidden_act="gelu").float(),
        lambda: with_(lambda llama: setattr(llama.model, "norm", torch.nn.RMSNorm(32))),
    ],
    ids=["float64", "biases", "adapted", "gelu", "another norm"],
)
def test_other_networks_go_layer_by_layer(maker):
    llama = maker()
    assert not isinstance(Decoder(llama, PROMPTS, 1)._step, Step)


@torch.inference_mode()
def test_a_layer_of_another_dtype_is_refused_by_torch_and_not_read_as_other_bits():
    llama = network().float()
    llama.model.layers[1].self_attn.o_proj.to(torch.bfloat16)
    with pytest.raises(RuntimeError, match="same dtype"):
        Decoder(llama, PROMPTS, 1)


@torch.inference_mode()
def test_a_token_beyond_the_room_is_refused():
    decoder = Decoder(network().float(), PROMPTS, 1)
    decoder.step(FOLLOWING[:, 0])
    with pytest.raises(IndexError, match="room for 8 positions"):
        decoder.step(FOLLOWING[:, 1])


@torch.inference_mode()
def test_more_threads_go_layer_by_layer():
    llama = network().float()
    assert isinstance(Decoder(llama, PROMPTS, 1)._step, Step)
    torch.set_num_threads(2)
    assert not isinstance(Decoder(llama, PROMPTS, 1)._step, Step)


def test_the_exponential_is_that_of_numpy_to_a_millionth():
    @numba.njit
    def exponentials(x):
        made = np.empty_like(x)
        for i in range(len(x)):
            made[i] = exp(x[i])
        return made

    x = np.concatenate([np.linspace(-86, 86, 100_001), [0.0, -1e4, 1e4]]).astype(np.float32)
    exact = np.exp(np.clip(x.astype(np.float64), -87, 87))
    assert np.abs(exponentials(x) / exact - 1).max() < 1e-6
    assert exponentials(np.zeros(1, np.float32))[0] == 1
    assert np.isnan(exponentials(np.array([np.nan], np.float32))[0])
