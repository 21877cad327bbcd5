"""The rearranged encoder: SNAC's own latents up to rounding, and each clip's codes whatever its batch."""

import numpy as np
import pytest
import torch
from snac import SNAC

import tiny
from conftest import ROOT
from sotaque.backends.orpheus import layout
from sotaque.backends.orpheus.codec import Codec
from sotaque.backends.orpheus.encoder import Encoder, agreeing, as_it_is, bias_first, bias_last, one_step

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


def waves(codec):
    frame = codec.frame_samples
    lengths = [1, frame - 1, frame, frame + 1, 3 * frame, *[9 * frame - n for n in range(5)], 16 * frame]
    return [tiny.wave(length / tiny.RATE_HZ + 1e-6, seed) for seed, length in enumerate(lengths * 2)]


def test_codes_are_those_of_each_clip_alone(folder):
    codec = Codec(folder, CPU)
    made = waves(codec)
    for wave, codes in zip(made, codec.encode(made), strict=True):
        assert np.array_equal(codes, codec.encode([wave])[0])


def test_codes_are_those_of_snac(folder):
    """Up to rounding, which may tip a code where two are as near."""
    snac, codec = SNAC.from_pretrained(str(folder)), Codec(folder, CPU)
    equal = [codec.encode([wave])[0] == alone(snac, wave, codec.frames(len(wave))) for wave in waves(codec)]
    assert np.concatenate(equal).mean() > 0.99


def same_latents(encoder, snac, steps):
    wave = torch.randn(1, 1, steps, generator=torch.Generator().manual_seed(steps))
    with torch.inference_mode():
        expected = snac.encoder(wave)
        torch.testing.assert_close(encoder(wave.clone()), expected, rtol=0, atol=1e-4 * float(expected.std()))


def test_the_latents_are_the_modules_own(folder):
    """Up to rounding: of one frame and many and of odd lengths, one after the other."""
    snac, codec = SNAC.from_pretrained(str(folder)), Codec(folder, CPU)
    encoder, frame = Encoder(codec.snac), codec.frame_samples
    for steps in (
        frame,
        2 * frame,
        5 * frame,
        5 * frame + 1,
        11 * frame - 3,
        18 * frame + 1023,
        67 * frame + 7,
    ):
        same_latents(encoder, snac, steps)


def test_the_latents_of_a_large_codec_are_its_own(orpheus):
    encoder = Encoder(orpheus)
    for frames in (1, 2, 11):
        same_latents(encoder, orpheus, 2048 * frames)
        same_latents(encoder, orpheus, 2048 * frames + 515)


def test_the_next_clip_leaves_the_latents_of_the_last_as_they_were(folder):
    codec = Codec(folder, CPU)
    encoder, wave = Encoder(codec.snac), torch.randn(1, 1, 3 * codec.frame_samples)
    with torch.inference_mode():
        latents = encoder(wave)
        kept = latents.clone()
        encoder(-wave)
    assert torch.equal(latents, kept)


@pytest.mark.parametrize("order", [bias_first, bias_last])
@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("steps", [1, 2, 27, 28, 60])
def test_shifted_additions_are_the_convolution(order, dilation, steps):
    """Also where the taps reach beyond both ends; sums in another order differ in the last bits only."""
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(4, 4, 7, padding=3 * dilation, dilation=dilation, groups=4)
    x = torch.randn(1, 4, steps)
    with torch.inference_mode():
        torch.testing.assert_close(order(conv, x, torch.empty_like(x)), conv(x), rtol=1e-5, atol=1e-6)


class Computed(torch.nn.Conv1d):
    """A convolution whose kernel adds in an order that is known."""

    def forward(self, x):
        return self.order(self, x, torch.empty(1, self.out_channels, x.shape[-1]))


@pytest.mark.parametrize("order", [bias_first, bias_last])
def test_the_order_is_that_of_the_convolutions_kernel(order):
    torch.manual_seed(0)
    conv = Computed(4, 4, 7, padding=3, groups=4)
    conv.order = order
    assert agreeing(conv) is order


def test_a_convolution_that_adds_in_another_order_is_left_as_it_is():
    torch.manual_seed(0)
    conv = Computed(4, 4, 7, padding=3, groups=4)
    conv.order = lambda conv, x, out: bias_first(conv, x.double(), out.double()).float()
    assert agreeing(conv) is as_it_is


def test_a_convolution_over_channels_is_left_as_it_is():
    assert agreeing(torch.nn.Conv1d(4, 4, 7, padding=3)) is as_it_is


@pytest.mark.parametrize("steps", [1, 2, 7, 60, 1001])
def test_a_convolution_of_one_step_is_a_product(steps):
    torch.manual_seed(0)
    conv, x = torch.nn.Conv1d(8, 8, 1), torch.randn(1, 8, steps)
    with torch.inference_mode():
        torch.testing.assert_close(one_step(conv, x, torch.empty_like(x)), conv(x), rtol=1e-5, atol=1e-6)
