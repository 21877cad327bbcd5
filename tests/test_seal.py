import json
from pathlib import Path

import pytest

from imports import PACKAGE, closure
from sotaque import jobs, seal, settings, verify
from sotaque.backends.families import FAMILIES
from sotaque.errors import IntegrityError

ROOMS = PACKAGE / "backends"


@pytest.fixture
def corpus_job(workplace):
    """The corpus job with an output made by hand, sealed."""
    found = settings.read(Path("params.yaml"))
    job = next(j for j in jobs.of(found) if j.stage.word == "corpus")
    (job.out / "wavs").mkdir(parents=True)
    (job.out / "metadata.csv").write_text("a|b\n")
    (job.out / "wavs/a.wav").write_bytes(b"sound")
    seal.close(job, seal.wanted(job, found))
    return job, found


def test_a_seal_holds_the_checksum_of_every_file(corpus_job):
    job, _ = corpus_job
    sealed = json.loads(job.seal.read_text())
    assert set(sealed["files"]) == {"demo/metadata.csv", "demo/wavs/a.wav"}
    assert sealed["files"]["demo/wavs/a.wav"] == seal.files.sha256(job.out / "wavs/a.wav")


def test_equal_work_has_equal_seals_wherever_it_was_done(corpus_job, tmp_path, monkeypatch):
    job, found = corpus_job
    first = job.seal.read_bytes()
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    for name in ("workflow", "data"):
        (tmp_path / name).rename(elsewhere / name)
    monkeypatch.chdir(elsewhere)
    job.seal.unlink()
    seal.close(job, seal.wanted(job, found))
    assert job.seal.read_bytes() == first


def test_a_sealed_output_is_up_to_date_until_a_byte_changes(corpus_job):
    job, found = corpus_job
    assert seal.reopen(job, seal.wanted(job, found))
    (job.out / "wavs/a.wav").write_bytes(b"sOund")
    assert not seal.reopen(job, seal.wanted(job, found))


def test_a_stray_file_is_not_up_to_date(corpus_job):
    job, found = corpus_job
    (job.out / "left-over.wav").write_bytes(b"old")
    assert not seal.reopen(job, seal.wanted(job, found))


def test_a_seal_that_an_engine_deleted_comes_back_without_work(corpus_job):
    job, found = corpus_job
    before = job.seal.read_bytes()
    job.seal.unlink()
    assert seal.reopen(job, seal.wanted(job, found))
    assert job.seal.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "stale"), [("seed: 7", True), ("lr: 5e-4", False), ("corpus: {train_clips: 9}", True)]
)
def test_only_the_parameters_of_the_stage_make_it_stale(corpus_job, line, stale):
    job, _ = corpus_job
    Path("params.yaml").write_text(line + "\n")
    changed = settings.read(Path("params.yaml"))
    assert seal.reopen(job, seal.wanted(job, changed)) is not stale


def test_a_missing_upstream_seal_is_named(workplace):
    found = settings.read(Path("params.yaml"))
    ingest = next(j for j in jobs.of(found) if j.stage.word == "ingest")
    with pytest.raises(
        IntegrityError, match=r"data/raw/demo/seal\.json: there is no such seal; .*ingest needs it"
    ):
        seal.wanted(ingest, found)


def test_verify_names_the_byte_that_rotted(corpus_job, capsys):
    job, found = corpus_job
    assert verify.run(found) == 0
    (job.out / "wavs/a.wav").write_bytes(b"rotten")
    (job.out / "stray.txt").write_text("")
    (job.out / "metadata.csv").unlink()
    assert verify.run(found) == 1
    told = capsys.readouterr().err
    assert "data/raw/demo/wavs/a.wav: sha256 is" in told
    assert "data/raw/demo/stray.txt: not in the seal" in told
    assert "data/raw/demo/metadata.csv: sealed, but missing" in told


def test_a_persons_own_corpus_is_an_input_of_ingest(workplace):
    Path("params.yaml").write_text("ingest: {corpus: mine}\n")
    found = settings.read(Path("params.yaml"))
    ingest = next(j for j in jobs.of(found) if j.stage.word == "ingest")
    clip = Path("data/raw/mine/a.wav")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"one")
    first = seal.wanted(ingest, found)
    assert seal.wanted(ingest, found) == first
    (clip.parent / "b.wav").write_bytes(b"two")
    assert seal.wanted(ingest, found) != first


def test_tree_sha256_is_that_of_the_bytes_and_not_of_the_memory(workplace):
    folder = Path("tree")
    folder.mkdir()
    (folder / "a").write_bytes(b"one")
    first = seal.tree_sha256(folder)
    (folder / "a").write_bytes(b"ONE")
    second = seal.tree_sha256(folder)
    (folder / "a").write_bytes(b"one")
    assert first == seal.tree_sha256(folder) != second


def test_a_models_code_is_that_of_its_own_family(workplace):
    """What is changed in another family's room leaves its seals as they are."""
    orpheus = seal.code_of(("audio.py", "backends"), settings.read(Path("params.yaml")))
    path = Path("workflow/models/micro.yaml")
    path.write_text(path.read_text().replace("backend: orpheus", "backend: csm").split("learning:")[0])
    csm = seal.code_of(("audio.py", "backends"), settings.read(Path("params.yaml")))
    assert set(orpheus) - set(csm) == {"backends/orpheus"}
    assert set(csm) - set(orpheus) == {"backends/csm"}
    assert {"audio.py", "backends/protocol.py", "backends/families.py", "backends/cross_entropy.py"} < set(
        csm
    )
    assert seal.code_of(("audio.py",), settings.read(Path("params.yaml"))) == ("audio.py",)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_family_uses_the_room_of_another(family):
    used = {path for name in ROOMS.glob(f"{family}/*.py") for path in closure(str(name.relative_to(PACKAGE)))}
    assert {path.split("/")[1] for path in used if path.startswith("backends/")} & set(FAMILIES) == {family}
