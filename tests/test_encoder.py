"""The rearranged encoder gives SNAC's own codes, bit for bit, whatever shares the batch."""

import numpy as np
import pytest
import torch
from snac import SNAC

import tiny
from conftest import ROOT
from sotaque.backends.orpheus import layout
from sotaque.backends.orpheus.codec import Codec
from sotaque.backends.orpheus.encoder import Encoder, agreeing, as_it_is, bias_first, bias_last

CPU = torch.device("cpu")


@pytest.fixture(params=["micro", "random"])
def folder(request, tmp_path):
    if request.param == "micro":
        return ROOT / "assets/micro/codec"
    tiny.codec(tmp_path, seed=3)
    return tmp_path


def alone(snac, wave, frames):
    """The codes of one clip as public notebooks make them, without the frames of SNAC's own padding."""
    with torch.inference_mode():
        books = snac.encode(torch.from_numpy(wave)[None, None])
    return layout.pack([book[0, : frames * n].numpy() for book, n in zip(books, (1, 2, 4), strict=True)])


def test_batched_codes_are_those_of_each_clip_alone(folder):
    torch.set_num_threads(1)
    snac, codec = SNAC.from_pretrained(str(folder)), Codec(folder, CPU)
    frame = codec.frame_samples
    lengths = [1, frame - 1, frame, frame + 1, 3 * frame, *[9 * frame - n for n in range(5)], 16 * frame]
    waves = [tiny.wave(length / tiny.RATE_HZ + 1e-6, seed) for seed, length in enumerate(lengths * 2)]
    for wave, codes in zip(waves, codec.encode(waves), strict=True):
        assert np.array_equal(codes, alone(snac, wave, codec.frames(len(wave))))


def test_the_latents_are_the_modules_own_bits(folder):
    torch.set_num_threads(1)
    snac, codec = SNAC.from_pretrained(str(folder)), Codec(folder, CPU)
    batch = torch.randn(3, 1, 5 * codec.frame_samples, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(Encoder(codec.snac)(batch.clone()), snac.encoder(batch))


@pytest.mark.parametrize("order", [bias_first, bias_last])
@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("steps", [1, 2, 27, 28, 60])
def test_shifted_additions_are_the_convolution(order, dilation, steps):
    """Also where the taps reach beyond both ends; sums in another order differ in the last bits only."""
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(4, 4, 7, padding=3 * dilation, dilation=dilation, groups=4)
    x = torch.randn(2, 4, steps)
    with torch.inference_mode():
        torch.testing.assert_close(order(conv, x, torch.empty_like(x)), conv(x), rtol=1e-5, atol=1e-6)


def test_a_convolution_over_channels_is_left_as_it_is():
    assert agreeing(torch.nn.Conv1d(4, 4, 7, padding=3)) is as_it_is
