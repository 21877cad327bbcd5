"""The rearranged encoder gives SNAC's own codes, bit for bit, whatever shares the batch."""

import numpy as np
import pytest
import torch
from snac import SNAC

import tiny
from conftest import ROOT
from sotaque.backends.orpheus import layout
from sotaque.backends.orpheus.codec import Codec
from sotaque.backends.orpheus.encoder import (
    MOST_CLIPS,
    Encoder,
    agreeing,
    as_it_is,
    bias_first,
    bias_last,
    one_step,
)

CPU = torch.device("cpu")


@pytest.fixture(params=["micro", "random"])
def folder(request, tmp_path):
    if request.param == "micro":
        return ROOT / "assets/micro/codec"
    tiny.codec(tmp_path, seed=3)
    return tmp_path


@pytest.fixture(scope="module")
def orpheus():
    """SNAC as large as Orpheus has it, with random weights."""
    torch.manual_seed(5)
    shape = {"encoder_rates": [2, 4, 8, 8], "decoder_rates": [8, 8, 4, 2], "vq_strides": [4, 2, 1]}
    return SNAC(24_000, 48, decoder_dim=1024, attn_window_size=None, **shape).eval()


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


def same_latents(encoder, snac, clips, steps):
    batch = torch.randn(clips, 1, steps, generator=torch.Generator().manual_seed(steps))
    with torch.inference_mode():
        assert torch.equal(encoder(batch.clone()), snac.encoder(batch)), (clips, steps)


def test_the_latents_are_the_modules_own_bits(folder):
    """Of one frame and many, odd lengths, one clip and as many as a batch may have, one after the other."""
    torch.set_num_threads(1)
    snac, codec = SNAC.from_pretrained(str(folder)), Codec(folder, CPU)
    encoder, frame = Encoder(codec.snac), codec.frame_samples
    for clips in (1, 2, 3, MOST_CLIPS):
        for steps in (frame, 2 * frame, 5 * frame, 5 * frame + 1, 11 * frame - 3, 18 * frame + 1023):
            same_latents(encoder, snac, clips, steps)
    for frames in (23, 41, 67):
        same_latents(encoder, snac, 1, frames * frame + 7)


def test_the_latents_of_a_large_codec_are_its_own_bits(orpheus):
    torch.set_num_threads(1)
    encoder = Encoder(orpheus)
    for clips, frames in ((1, 1), (3, 2), (2, 11), (1, 13)):
        same_latents(encoder, orpheus, clips, 2048 * frames)
        same_latents(encoder, orpheus, clips, 2048 * frames + 515)


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


def test_the_first_convolution_is_shifted_additions_too():
    assert agreeing(torch.nn.Conv1d(1, 8, 7, padding=3)) is not as_it_is


@pytest.mark.parametrize("steps", [1, 2, 7, 60, 1001])
def test_a_convolution_of_one_step_is_a_product(steps):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    conv, x = torch.nn.Conv1d(8, 8, 1), torch.randn(3, 8, steps)
    with torch.inference_mode():
        assert torch.equal(one_step(conv, x, torch.empty_like(x)), conv(x))
