"""What Snakemake is told after DVC, a checkout or a change of parameters."""

import os
from pathlib import Path

import pytest

from sotaque import jobs, seal, settings, stamps


@pytest.fixture
def two_stages(workplace):
    """corpus and ingest as another engine would have left them: sealed, with no stamp of ours."""
    found = settings.read(Path("params.yaml"))
    made = [job for job in jobs.of(found) if job.stage.word in ("corpus", "ingest")]
    for job in made:
        job.out.mkdir(parents=True)
        (job.out / "row.txt").write_text(job.name)
        seal.close(job, seal.wanted(job, found))
    return made, found


def stamp_ns(job):
    return stamps.path_of(job.stage.word).stat().st_mtime_ns


def test_what_agrees_is_left_alone(two_stages):
    made, found = two_stages
    assert stamps.freshen(found) == []
    assert all(stamp_ns(job) < job.seal.stat().st_mtime_ns for job in made)


def test_a_changed_parameter_renews_the_stamp_of_its_stage_alone(two_stages):
    (corpus, ingest), _ = two_stages
    Path("params.yaml").write_text("ingest: {speaker: maria}\n")
    changed = settings.read(Path("params.yaml"))
    assert stamps.freshen(changed) == ["ingest"]
    assert stamp_ns(ingest) > ingest.seal.stat().st_mtime_ns
    assert stamp_ns(corpus) < corpus.seal.stat().st_mtime_ns


def test_every_renewal_has_another_content(two_stages):
    """Snakemake compares the checksum of a small input: the same bytes again would not be seen."""
    Path("params.yaml").write_text("ingest: {speaker: maria}\n")
    changed = settings.read(Path("params.yaml"))
    stamps.freshen(changed)
    first = stamps.path_of("ingest").read_bytes()
    stamps.freshen(changed)
    assert stamps.path_of("ingest").read_bytes() != first


def test_times_that_a_checkout_left_in_a_wrong_order_are_put_right(two_stages):
    (corpus, ingest), found = two_stages
    os.utime(ingest.seal, (1, 1))
    assert stamps.freshen(found) == []
    assert ingest.seal.stat().st_mtime_ns >= corpus.seal.stat().st_mtime_ns


def test_a_file_changed_just_after_it_was_sealed_makes_its_stage_stale(two_stages):
    """Its checksum is not remembered yet, since its times may be those of the change."""
    (_, ingest), found = two_stages
    (ingest.out / "row.txt").write_text("INGEST")
    assert stamps.freshen(found) == ["ingest"]


def test_a_sealed_file_that_is_gone_makes_its_stage_stale(two_stages):
    (_, ingest), found = two_stages
    (ingest.out / "row.txt").unlink()
    assert stamps.freshen(found) == ["ingest"]


def test_what_was_never_made_is_not_stale(workplace):
    assert stamps.freshen(settings.read(Path("params.yaml"))) == []
