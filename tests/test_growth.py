"""A corpus that grows: only the shards that the new clips fall in are made again, and no old clip moves."""

from pathlib import Path

import numpy as np
import pytest

import tiny
from sotaque import __main__ as command
from sotaque import files, jobs, manifest, seal, settings
from sotaque.data import split
from sotaque.data.split import PARTS
from sotaque.manifest import Utterance
from sotaque.settings import Split
from sounds import save, voice

SHARDS = 8
CORPUS = Path("data/raw/maria")
SHARDED = ("normalize", "measure", "tokenize")
WHOLE = ("ingest", "quality", "split")
PARAMS = f"""
model: tiny
shards: {SHARDS}
ingest: {{corpus: maria}}
tracking: {{enabled: false}}
"""


def sound(number: int) -> np.ndarray:
    return voice(0.42 + number % 10 / 100, pitch_hz=80 + number, level=0.1 + number % 7 / 50)


def list_clips(count: int) -> None:
    lines = [f"c{n:04d}|frase número {n}\n" for n in range(count)]
    files.write_text(CORPUS / "metadata.csv", "".join(lines))


def shards_of(*numbers: int) -> set[str]:
    return {manifest.shard_of(f"c{n:04d}", SHARDS) for n in numbers}


@pytest.fixture
def grown(workplace, caplog, request):
    """A corpus of so many clips, all made up to splits and tokens; a function that makes it all again."""
    Path("params.yaml").write_text(PARAMS)
    Path("workflow/models/tiny.yaml").write_text(tiny.SPEC)
    tiny.base(Path("models/tiny/base"), tiny.SMALL)
    found = settings.read(Path("params.yaml"))
    made = [job for job in jobs.of(found) if job.stage.word in (*SHARDED, *WHOLE)]
    fetch = next(job for job in jobs.of(found) if job.stage.word == "fetch")
    seal.close(fetch, seal.wanted(fetch, found))
    for number in range(request.param):
        save(CORPUS / f"wavs/c{number:04d}.wav", sound(number))
    list_clips(request.param)

    def make() -> set[str]:
        """The names of the jobs that had something to do."""
        caplog.clear()
        caplog.set_level("INFO", logger="sotaque")
        for job in made:
            command.run(job, found)
        idle = {r.getMessage().split(":")[0] for r in caplog.records if r.getMessage().endswith("up to date")}
        return {job.name for job in made} - idle

    assert make() == {job.name for job in made}
    return make


def jobs_of(shards: set[str]) -> set[str]:
    return {f"{word}-{shard}" for word in SHARDED for shard in shards}


@pytest.mark.parametrize("grown", [200], indirect=True)
def test_three_new_clips_cost_their_shards_alone(grown):
    assert grown() == set()
    parts = {u.id: part for part in PARTS for u in manifest.read(Path(f"data/splits/{part}.jsonl"))}
    new = range(200, 203)
    for number in new:
        save(CORPUS / f"wavs/c{number:04d}.wav", sound(number))
    list_clips(203)
    assert len(shards_of(*new)) < SHARDS
    assert grown() == {*WHOLE, *jobs_of(shards_of(*new))}
    later = {u.id: part for part in PARTS for u in manifest.read(Path(f"data/splits/{part}.jsonl"))}
    assert len(later) == 203
    assert parts.items() <= later.items()


@pytest.mark.parametrize("grown", [24], indirect=True)
def test_another_recording_under_an_old_name_is_seen(grown):
    """Of the same length, so that nothing but its bytes tells it from the first."""
    save(CORPUS / "wavs/c0007.wav", sound(7)[::-1])
    assert grown() == {*WHOLE, *jobs_of(shards_of(7))}


def test_ten_new_of_ten_thousand_move_none_and_fall_in_ten_shards_at_most():
    """The shares are of places drawn by hash, not of counts, so no old clip is pushed over an edge."""
    clips = [Utterance(f"c{n:05d}", "", f"frase número {n}", "ana", "pt") for n in range(10_010)]

    def places(some: list[Utterance]) -> dict[str, tuple[str, str]]:
        parts = split.divide(some, Split(), seed=42)
        return {u.id: (part, manifest.shard_of(u.id, 40)) for part in PARTS for u in parts[part]}

    before, after = places(clips[:-10]), places(clips)
    assert before.items() <= after.items()
    new = after.keys() - before.keys()
    assert new == {u.id for u in clips[-10:]}
    assert 1 < len({after[name][1] for name in new}) <= 10
