"""Shards of tokens: every clip in the index, the array readable where it lies, bytes the same each time."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sotaque import audio, backends, manifest
from sotaque.data import tokenize
from sotaque.data.tokenize import TokenRow, Tokens
from sotaque.errors import InputError, IntegrityError
from sotaque.manifest import Utterance

BASE, SHARDS = Path("models/tiny/base"), ("00", "01")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.world()


def again(settings, shard="01"):
    return tokenize.run(
        settings, model=Path("workflow/models/tiny.yaml"), wav=Path("data/wav") / shard, base=BASE,
        out=Path("data/tokens/tiny") / shard, shard=shard,
    )  # fmt: skip


def clips(shard="01"):
    return manifest.read(Path("data/wav") / shard / "manifest.jsonl")


def test_tokens_are_the_codecs_codes(settings):
    backend = backends.load("orpheus", BASE, torch.device("cpu"))
    tokens = Tokens(Path("data/tokens/tiny"), SHARDS, BASE)
    for utterance in clips("00") + clips("01"):
        samples, _ = audio.read(Path(utterance.audio))
        assert np.array_equal(tokens.codes(utterance.id), backend.encode([samples])[0])


def test_the_index_tiles_the_array_in_order_of_id(settings):
    rows = manifest.read(Path("data/tokens/tiny/01.jsonl"), TokenRow)
    array = np.load("data/tokens/tiny/01.npy", mmap_mode="r")
    assert array.dtype == np.int16
    assert [row.id for row in rows] == sorted(u.id for u in clips())
    assert [row.start for row in rows] == np.cumsum([0, *(row.length for row in rows[:-1])]).tolist()
    assert len(array) == sum(row.length for row in rows)


@pytest.mark.parametrize("batch_s", [1.0, 60.0])
def test_bytes_do_not_depend_on_the_batch(settings, batch_s):
    before = [Path(f"data/tokens/tiny/01.{end}").read_bytes() for end in ("npy", "jsonl")]
    again(dataclasses.replace(settings, tokenize=dataclasses.replace(settings.tokenize, batch_s=batch_s)))
    assert [Path(f"data/tokens/tiny/01.{end}").read_bytes() for end in ("npy", "jsonl")] == before


def test_a_damaged_clip_becomes_a_row_that_says_why(settings):
    bad, gone, *rest = clips()
    Path(bad.audio).write_bytes(b"not sound")
    Path(gone.audio).unlink()
    metrics = again(settings)
    rows = {row.id: row for row in manifest.read(Path("data/tokens/tiny/01.jsonl"), TokenRow)}
    assert (metrics["clips"], metrics["rejected"]) == (len(rest), 2)
    assert set(rows) == {u.id for u in clips()}
    assert (rows[bad.id].length, rows[bad.id].reject) == (0, "unreadable")
    assert (rows[gone.id].length, rows[gone.id].reject) == (0, "missing")
    assert all(rows[u.id].length > 0 and not rows[u.id].reject for u in rest)


def test_a_clip_at_a_higher_rate_is_heard_at_the_codecs(settings):
    """Chatterbox hears 16 kHz, and wants its references at 24."""
    victim = clips()[0]
    audio.write(Path(victim.audio), tiny.wave(0.2, 0), 48000)
    samples, rate_hz = audio.read(Path(victim.audio))
    again(settings)
    backend = backends.load("orpheus", BASE, torch.device("cpu"))
    [expected] = backend.encode([audio.resample(samples, rate_hz, backend.sample_rate_hz)])
    found = Tokens(Path("data/tokens/tiny"), SHARDS, BASE).codes(victim.id)
    assert np.array_equal(found, expected)


def test_a_clip_at_a_lower_rate_stops_the_stage(settings):
    victim = clips()[0]
    audio.write(Path(victim.audio), tiny.wave(0.1, 0), 16000)
    with pytest.raises(InputError, match=rf"{victim.id}.wav is at 16000 Hz, but the codec hears 24000 Hz"):
        again(settings)


def test_an_empty_shard_is_a_shard(settings):
    manifest.write(Path("data/wav/01/manifest.jsonl"), [])
    metrics = again(settings)
    assert (metrics["clips"], metrics["frames"], metrics["dropped_share"]) == (0, 0, 0)
    tokens = Tokens(Path("data/tokens/tiny"), SHARDS, BASE)
    assert len(tokens.codes(clips("00")[0].id))


@pytest.mark.parametrize(("first_codes", "kept"), [
    ([1, 1, 2, 2, 2, 1], [0, 2, 5]),
    ([1, 2, 3], [0, 1, 2]),
    ([4, 4, 4], [0]),
    ([], []),
])  # fmt: skip
def test_repeated_frames_are_those_with_the_first_code_of_the_one_before(first_codes, kept):
    codes = np.arange(len(first_codes) * 7, dtype=np.int16).reshape(-1, 7)
    codes[:, 0] = first_codes
    assert np.array_equal(tokenize.drop_repeated(codes), codes[kept])


def test_dropped_frames_are_counted(settings):
    dropping = dataclasses.replace(settings.tokenize, drop_repeated_frames=True)
    whole = {row.id: row for row in manifest.read(Path("data/tokens/tiny/01.jsonl"), TokenRow)}
    metrics = again(dataclasses.replace(settings, tokenize=dropping))
    rows = manifest.read(Path("data/tokens/tiny/01.jsonl"), TokenRow)
    dropped = sum(row.dropped_frames for row in rows)
    assert all(row.length + row.dropped_frames == whole[row.id].length for row in rows)
    assert metrics["dropped_share"] == dropped / (dropped + metrics["frames"])
    assert dropped > 0


def test_tokens_of_another_codec_are_refused(settings):
    tokenize.codec_sha256.cache_clear()
    tiny.codec(BASE / "codec", tiny.SMALL.codebook_size, seed=9)
    with pytest.raises(IntegrityError, match="another codec"):
        Tokens(Path("data/tokens/tiny"), SHARDS, BASE)


def test_an_index_without_its_array_is_refused(settings):
    np.save("data/tokens/tiny/01.npy", np.zeros((3, 7), np.int16))
    with pytest.raises(IntegrityError, match="has 3 frames, its index"):
        Tokens(Path("data/tokens/tiny"), SHARDS, BASE)


def test_a_clip_that_was_never_tokenized_is_named(settings):
    with pytest.raises(InputError, match="stranger stands in the splits"):
        Tokens(Path("data/tokens/tiny"), SHARDS, BASE).codes("stranger")


def test_the_next_batch_is_read_while_this_one_is_encoded():
    asked, second = [], threading.Event()

    def read(number):
        asked.append(number)
        if number == 1:
            second.set()
        return number

    seen = []
    for number in tokenize.read_ahead(read, range(6)):
        assert number > 0 or second.wait(10)
        assert max(asked) <= number + 1
        seen.append(number)
    assert seen == list(range(6))


def test_a_fault_while_reading_ahead_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(tokenize.read_ahead(lambda number: 1 / number, [1, 0, 1]))


def test_a_batch_holds_so_many_seconds_or_one_clip():
    durations = [0.5, 3.0, 1.0, 0.7, 1.0, 9.0, 0.2]
    made = [Utterance(f"c{n}", "", "", "ana", "pt", duration_s=d) for n, d in enumerate(durations)]
    lengths = [[u.duration_s for u in batch] for batch in tokenize.batches(made, 2.5)]
    assert lengths == [[0.2, 0.5, 0.7, 1.0], [1.0], [3.0], [9.0]]
