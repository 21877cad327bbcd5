"""ingest.max_rejected_share: clips and minutes, lost by ingest and normalize together, stop the run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bad_sounds import content, flac_claiming
from sotaque import manifest
from sotaque.data import ingest, normalize, quality
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject, Utterance
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, MANIFEST, WAV = Path("data/raw/mine"), Path("data/manifest"), Path("data/wav")


@pytest.fixture(autouse=True)
def here(workplace):
    return workplace


def settings(shards: int = 2, allowed: float = 0.05) -> Settings:
    return Settings(shards=shards, ingest=Ingest(corpus="mine", max_rejected_share=allowed))


def utterance(name: str, duration_s: float) -> Utterance:
    return Utterance(name, f"{name}.wav", "Bom dia.", "ana", "pt", duration_s=duration_s)


def lost(name: str, duration_s: float, code: str = "too-long", stage: str = "normalize") -> Reject:
    return Reject.of(name, f"{name}.wav", stage, ClipError(code, "what was found"), duration_s)


def judge(clips: list[Utterance], by_ingest=(), by_normalize=(), allowed: float = 0.05) -> None:
    """The check of the stage quality: clips are those that ingest kept."""
    manifest.write(MANIFEST / "rejects.jsonl", by_ingest)
    for shard in ("00", "01"):
        manifest.write(MANIFEST / f"{shard}.jsonl", clips if shard == "00" else [])
        manifest.write(WAV / shard / "rejects.jsonl", by_normalize if shard == "00" else [])
    quality.check_rejects(settings(allowed=allowed), MANIFEST, WAV)


SHORT = [utterance(f"short{n}", 6.0) for n in range(95)]  # 9.5 minutes


@pytest.mark.parametrize("stage", ["ingest", "normalize"])
@pytest.mark.parametrize(("clips", "stops"), [(5, False), (6, True)])
def test_one_clip_more_than_allowed_stops_the_run(stage, clips, stops):
    """Five of a hundred are 5 %, six of 101 are more; all of them last 6 s."""
    rejects = [lost(f"lost{n}", 6.0, stage=stage) for n in range(clips)]
    extra = [utterance(reject.id, 6.0) for reject in rejects] if stage == "normalize" else []
    given = {f"by_{stage}": rejects}
    if not stops:
        judge([*SHORT, *extra], **given)
        return
    with pytest.raises(InputError, match=r"6 of 101 clips are rejected \(5\.9%\), 0\.6 of 10\.1 minutes"):
        judge([*SHORT, *extra], **given)


def test_what_two_stages_lose_is_counted_together():
    by_ingest = [lost(f"i{n}", 6.0, "duplicate-audio", "ingest") for n in range(3)]
    by_normalize = [lost(f"n{n}", 6.0) for n in range(3)]
    clips = [*SHORT, *(utterance(f"n{n}", 6.0) for n in range(3))]
    judge(clips, by_ingest=by_ingest)
    judge(clips, by_normalize=by_normalize)
    with pytest.raises(InputError, match=r"6 of 101 clips .*: duplicate-audio 3, too-long 3\."):
        judge(clips, by_ingest=by_ingest, by_normalize=by_normalize)


def test_minutes_count_where_few_clips_hold_most_of_them():
    """Four voice notes of 168 s are 4 of 99 clips, and 11.2 of 20.7 minutes."""
    notes = [utterance(f"note{n}", 168.0) for n in range(4)]
    with pytest.raises(InputError) as caught:
        judge([*SHORT, *notes], by_normalize=[lost(u.id, u.duration_s) for u in notes])
    told = str(caught.value)
    assert "4 of 99 clips are rejected (4.0%), 11.2 of 20.7 minutes (54.1%)" in told
    assert "allowed are 5.0% of either (ingest.max_rejected_share)" in told
    assert re.search(
        r"too-long: 4 clips, 11\.2 minutes; the first: note0\.wav: what was found\. Fix: .*", told
    )
    assert "normalize.max_s" in told
    assert "start and end times" in told
    assert [r.id for r in manifest.read(quality.REJECTED, Reject)] == [u.id for u in notes]


def test_a_corpus_of_which_nothing_is_left_stops_whatever_is_allowed():
    clips = [utterance(f"c{n}", 6.0) for n in range(3)]
    with pytest.raises(InputError, match="3 of 3 clips are rejected"):
        judge(clips, by_normalize=[lost(u.id, 6.0) for u in clips], allowed=1.0)


# --- one shard


def run_shard(shards: dict[str, list[Utterance]], allowed: float = 0.05) -> dict[str, float]:
    """normalize of shard 00."""
    for name, utterances in shards.items():
        manifest.write(MANIFEST / f"{name}.jsonl", utterances)
    wanted = settings(len(shards), allowed)
    return normalize.run(wanted, model=Path("m"), manifest=MANIFEST, shard="00", out=WAV / "00")


def recording(name: str, duration_s: float) -> Utterance:
    path = save(Path(f"{name}.wav"), voice(duration_s))
    return replace(utterance(name, duration_s), audio=path.as_posix())


def test_a_small_shard_may_lose_all_its_clips_where_the_corpus_is_fine():
    """Two clips of 0.2 s are too short; two of 102, and 0.4 of 600.4 s, are few."""
    bad = [recording(name, 0.2) for name in ("x", "y")]
    metrics = run_shard({"00": bad, "01": [utterance(f"c{n}", 6.0) for n in range(100)]})
    assert (metrics["clips"], metrics["rejected"]) == (0, 2)


@pytest.mark.parametrize(("seconds", "stops"), [(5.0, True), (400.0, False)])
def test_a_shard_that_loses_too_much_of_the_whole_corpus_stops_before_anything_is_measured(seconds, stops):
    """A note of 31 s, over normalize.max_s, may be lost beside 100 clips of 400 s, not of 5 s."""
    clips = {"00": [recording("note", 31.0), recording("good", 1.0)],
             "01": [utterance(f"c{n}", seconds) for n in range(100)]}  # fmt: skip
    if not stops:
        assert run_shard(clips)["rejected"] == 1
        return
    with pytest.raises(InputError, match=r"1 of 102 clips are rejected \(1\.0%\), 0\.5 of 8\.9 minutes"):
        run_shard(clips)
    assert [r.code for r in manifest.read(normalize.REFUSED, Reject)] == ["too-long"]


# --- ingest


def ingested(allowed: float) -> None:
    ingest.run(settings(1, allowed), corpus=CORPUS, out=MANIFEST)


def test_ingest_counts_minutes_too():
    """A recording of 601 s, over the limit of 600 s, beside 40 clips of one second."""
    names = [f"c{n:02d}" for n in range(40)]
    for number, name in enumerate(names):
        save(CORPUS / "wavs" / f"{name}.wav", voice(1.0, 8_000, 100 + number), 8_000)
    save(CORPUS / "wavs/long.wav", voice(601.0, 8_000), 8_000)
    lines = [f"{name}|Bom dia, {name}.\n" for name in [*names, "long"]]
    (CORPUS / "metadata.csv").write_text("".join(lines))
    with pytest.raises(InputError, match=r"1 of 41 clips .*2\.4%\), 10\.0 of 10\.7 minutes \(93\.8%\)"):
        ingested(0.05)
    ingested(0.95)


def test_a_header_that_lies_stops_no_run():
    """A FLAC of some kilobytes that claims 99 days lasts no longer than its bytes can."""
    for number in range(40):
        save(CORPUS / "wavs" / f"c{number:02d}.wav", voice(3.0, 8_000, 100 + number), 8_000)
    bomb = flac_claiming(content(voice(0.1, 8_000), "FLAC", 8_000), 2**36 - 1)
    (CORPUS / "wavs/bomb.flac").write_bytes(bomb)
    lines = [f"wavs/c{n:02d}.wav|Bom dia, {n}.\n" for n in range(40)] + ["wavs/bomb.flac|Bom dia.\n"]
    (CORPUS / "list.csv").write_text("".join(lines))
    ingested(0.05)
    assert [r.code for r in manifest.read(MANIFEST / "rejects.jsonl", Reject)] == ["too-long"]
