"""The seven-slot layout, against numbers from upstream that can be checked by hand."""

import numpy as np
import pytest

from sotaque.backends.orpheus import layout
from sotaque.backends.orpheus.layout import Layout
from sotaque.errors import ModelError

REAL = Layout(text_start=128000, text_end=128009, first_custom=128256, codebook_size=4096)
MICRO = Layout(text_start=300, text_end=301, first_custom=302, codebook_size=512)


def test_the_real_ids_are_those_of_the_published_model():
    assert (REAL.speech_start, REAL.speech_end, REAL.human_start, REAL.human_end) == (
        128257,
        128258,
        128259,
        128260,
    )
    assert (REAL.ai_start, REAL.ai_end, REAL.pad, REAL.first_audio) == (128261, 128262, 128263, 128266)
    assert REAL.end_audio - 1 == 156937


def test_custom_token_numbers_agree_with_upstreams_formula():
    codes = np.arange(14).reshape(2, 7)
    for i, token_id in enumerate(REAL.ids_of(codes)):
        assert token_id - 128256 == codes.reshape(-1)[i] + 10 + (i % 7) * 4096


def test_pack_puts_each_codebook_into_its_slots():
    c0, c1, c2 = np.array([10, 11]), np.array([20, 21, 22, 23]), np.arange(30, 38)
    assert layout.pack((c0, c1, c2)).tolist() == [[10, 20, 30, 31, 21, 32, 33], [11, 22, 34, 35, 23, 36, 37]]


@pytest.mark.parametrize("ids", [REAL, MICRO])
def test_every_step_has_an_inverse(ids):
    rng = np.random.default_rng(0)
    books = [rng.integers(0, ids.codebook_size, size=9 * n) for n in (1, 2, 4)]
    codes = layout.pack(books)
    for book, again in zip(books, layout.unpack(codes), strict=True):
        assert np.array_equal(book, again)
    assert np.array_equal(ids.codes_of(ids.ids_of(codes)), codes)


@pytest.mark.parametrize("ids", [REAL, MICRO])
def test_the_first_and_last_code_survive(ids):
    codes = np.array([[0] * 7, [ids.codebook_size - 1] * 7])
    spoken = ids.ids_of(codes)
    assert (min(spoken), max(spoken)) == (ids.first_audio, ids.end_audio - 1)
    assert np.array_equal(ids.codes_of(spoken), codes)


def test_sequence_is_prompt_audio_and_two_ends():
    codes = np.zeros((1, 7), dtype=np.int16)
    sequence = REAL.sequence([5, 6], codes)
    assert sequence[:8] == [128259, 128000, 5, 6, 128009, 128260, 128261, 128257]
    assert sequence[:8] == REAL.prompt([5, 6])
    assert sequence[8:15] == [128266 + 4096 * slot for slot in range(7)]
    assert sequence[15:] == [128258, 128262]


def test_no_layout_is_a_length_of_zero():
    empty = np.zeros((0, 7), dtype=np.int16)
    assert REAL.ids_of(empty) == []
    assert REAL.codes_of([]).shape == (0, 7)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([128266] * 6, "6 audio ids"),
        ([128266] * 7, "position 1: the id is 128266, but slot 1"),
        ([128266 + 4096], "1 audio ids"),
        ([128265, *range(6)], "position 0: the id is 128265"),
        ([128266 + 4096 * s for s in range(6)] + [156938], "position 6: the id is 156938"),
    ],
)
def test_misaligned_ids_are_refused_by_name(ids, message):
    with pytest.raises(ModelError, match=message):
        REAL.codes_of(ids)


@pytest.mark.parametrize("code", [-1, 4096])
def test_codes_out_of_range_are_refused_by_name(code):
    codes = np.zeros((2, 7), dtype=np.int32)
    codes[1, 3] = code
    with pytest.raises(ModelError, match=f"frame 1, slot 3: the code is {code}"):
        REAL.ids_of(codes)


def test_codebooks_of_unequal_length_are_refused():
    with pytest.raises(ModelError, match=r"\[2, 4, 7\]"):
        layout.pack((np.zeros(2), np.zeros(4), np.zeros(7)))


def test_only_text_is_text():
    assert REAL.is_text(127999)
    assert REAL.is_text(128010)
    assert not any(REAL.is_text(i) for i in (128000, 128009, 128256, 128258, 156937))
