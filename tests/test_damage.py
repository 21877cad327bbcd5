"""Damaged seals and damaged inputs: each heals itself, or the file and the fix are named."""

import os
import shutil
import time
from pathlib import Path

import pytest

import commands
import seals
import tiny
from sotaque import __main__ as cli
from sotaque import checksums, files, input_check, jobs, seal, settings, stamps, times, verify
from sotaque.errors import IntegrityError
from sounds import save, voice

OUTS = {"ingest": "data/manifest", "normalize": "data/wav/00", "tokenize": "data/tokens/tiny"}


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def without_files(path):
    files.write_json(path, {key: value for key, value in files.read_json(path).items() if key != "files"})


def with_a_number(path):
    files.write_json(path, files.read_json(path) | {"files": {"a": 1}})


def as_a_folder(path):
    path.unlink()
    (path / "deep").mkdir(parents=True)


DAMAGE = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "cut": (cut, "it is not JSON"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "it is not JSON"),
    "no JSON": (lambda path: path.write_text("seal\n"), "it is not JSON"),
    "deep": (lambda path: path.write_text("[" * 100_000), "nested too deep"),
    "list": (lambda path: path.write_text("[]"), "expected a JSON object, found list"),
    "null": (lambda path: path.write_text("null"), "expected a JSON object, found NoneType"),
    "key": (without_files, "the key 'files' is missing"),
    "type": (lambda path: path.write_text('{"stage": 1}'), "'stage' is int, expected a string"),
    "number": (with_a_number, "'files' holds a value that is no checksum"),
    "folder": (as_a_folder, "it cannot be read: Is a directory"),
}
each_damage = pytest.mark.parametrize("kind", DAMAGE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which ingest, normalize and tokenize have run over six clips."""
    where = tmp_path_factory.mktemp("made") / "world"
    corpus = commands.folder(where, model="tiny")
    for number in range(6):
        save(corpus / f"wavs/c{number}.wav", voice(0.5 + number / 10))
    (corpus / "metadata.csv").write_text("".join(f"c{n}|Frase número {n}.\n" for n in range(6)))
    before = Path.cwd()
    os.chdir(where)
    Path("workflow/models/tiny.yaml").write_text(tiny.SPEC)
    tiny.base(Path("models/tiny/base"), tiny.SMALL)
    found = settings.read(Path("params.yaml"))
    fetch = job_of("fetch", found)
    seal.close(fetch, seal.wanted(fetch, found))
    for stage in OUTS:
        assert cli.main(commands.words(stage, "tiny")) == 0
    os.chdir(before)
    return where


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    """A copy of it; returns its settings. Every file counts as settled, so that all are remembered."""
    shutil.copytree(made, tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")
    monkeypatch.setattr(checksums, "TICK_NS", 0)
    return settings.read(Path("params.yaml"))


def job_of(name, found):
    return next(job for job in jobs.of(found) if job.name == name)


def run(stage):
    return cli.main(commands.words(stage, "tiny"))


def bytes_of(folder):
    return {path.as_posix(): path.read_bytes() for path in files.walk(Path(folder))}


def forget(stage):
    """As if the stage had never run."""
    shutil.rmtree(OUTS[stage])
    for path in Path("scratch/seals").glob(f"{OUTS[stage].replace('/', '-')}*"):
        path.unlink()


@each_damage
def test_a_damaged_seal_is_named_by_verify_and_by_the_stage_that_reads_it(world, capsys, kind):
    damage, words = DAMAGE[kind]
    forget("tokenize")
    damage(Path("data/wav/00/seal.json"))
    assert verify.run(world) == 1
    told = capsys.readouterr().err
    assert "data/wav/00/seal.json: this seal is damaged: " in told
    assert words in told
    assert run("tokenize") == 1
    told = capsys.readouterr().err
    assert "sotaque tokenize: data/wav/00/seal.json: this seal is damaged: " in told
    assert "run snakemake --cores all or dvc repro" in told
    assert "Traceback" not in told


@each_damage
def test_a_damaged_seal_is_put_back_by_its_stage(world, kind):
    before = bytes_of("data/wav/00")
    path = Path("data/wav/00/seal.json")
    DAMAGE[kind][0](path)
    assert run("normalize") == 0
    assert bytes_of("data/wav/00") == before
    DAMAGE[kind][0](path)
    assert stamps.freshen(world) == []  # Snakemake has nothing to do: the copy proves the output
    assert bytes_of("data/wav/00") == before
    DAMAGE[kind][0](path)
    forget_the_copy()
    assert {"normalize-00"} <= set(stamps.freshen(world))
    assert run("normalize") == 0
    assert bytes_of("data/wav/00") == before
    assert verify.run(world) == 0
    assert stamps.freshen(world) == []


def forget_the_copy():
    for path in Path("scratch/seals").glob("data-wav-00-*.json"):
        files.remove(path)


@each_damage
def test_a_damaged_copy_of_a_seal_blocks_nothing(world, kind):
    [kept] = Path("scratch/seals").glob("data-wav-00-*.json")
    DAMAGE[kind][0](kept)
    assert run("normalize") == 0  # the seal itself is good
    before = bytes_of("data/wav/00")
    Path("data/wav/00/seal.json").unlink()
    assert run("normalize") == 0
    assert bytes_of("data/wav/00") == before
    assert files.read_json(kept) == files.read_json(Path("data/wav/00/seal.json"))


@each_damage
def test_damaged_memories_cost_time_only(world, kind):
    for path in (*Path("scratch/seals").glob("stat-*"), *Path("scratch/seals").glob("tree-*")):
        path.write_text('{"a": [1, 2, 3, 4, "x"], "b": 7}')
        DAMAGE[kind][0](path) if kind not in ("key", "number") else None
    for path in Path("scratch/times").iterdir():
        files.remove(path)
        path.write_text('{"files": {}}\n' * (kind != "key"))
        DAMAGE[kind][0](path) if kind not in ("key", "number", "cut") else None
    assert times.seconds(job_of("normalize-00", world)) is None
    forget("tokenize")
    assert run("tokenize") == 0
    assert verify.run(world) == 0
    assert stamps.freshen(world) == []


def test_a_seal_of_something_else_says_nothing(world):
    before = bytes_of("data/wav/00")
    shutil.copyfile("data/manifest/seal.json", "data/wav/00/seal.json")
    assert set(stamps.freshen(world)) == {"normalize-00", "tokenize-00"}
    assert run("normalize") == 0
    assert bytes_of("data/wav/00") == before
    assert stamps.freshen(world) == []


def test_times_ahead_of_the_clock_are_put_right(world):
    """Snakemake refuses an output that is older than its input, and cannot make one that is not."""
    future = time.time() + 10_000_000
    stamps.freshen(world)
    ahead = [job.seal for job in jobs.of(world) if job.seal.exists()]
    ahead += [Path("data/tokens/tiny/00.npy"), stamps.path_of("normalize"), stamps.path_of("train")]
    for path in ahead:
        os.utime(path, (future, future))
    assert stamps.freshen(world) == []
    assert all(path.stat().st_mtime <= time.time() for path in ahead)
    order = [Path(f"{OUTS[stage]}/seal.json").stat().st_mtime_ns for stage in ("ingest", "normalize")]
    assert order == sorted(order)


def zero_a_piece(path):
    with path.open("r+b") as stream:
        stream.seek(2000)
        stream.write(bytes(3000))


def edit_a_transcript(path):
    path.write_text(path.read_text().replace("Frase número 3.", "Frase numero 33."))


def zero_and_hide(path):
    """With the size and time of before, as a failing disk or a careful program leaves it."""
    status = path.stat()
    zero_a_piece(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


INPUTS = {
    ("normalize", "data/manifest/00.jsonl"): edit_a_transcript,
    ("normalize", "data/raw/mine/wavs/c3.wav"): zero_a_piece,
    ("tokenize", "data/wav/00/c3.wav"): zero_a_piece,
    ("tokenize", "data/wav/00/c4.wav"): zero_and_hide,
    ("tokenize", "data/wav/00/manifest.jsonl"): edit_a_transcript,
    ("tokenize", "models/tiny/base/codec/pytorch_model.bin"): zero_a_piece,
    ("tokenize", "data/wav/00/c2.wav"): Path.unlink,
}


@pytest.mark.parametrize(("stage", "name"), INPUTS)
def test_a_stage_names_an_input_that_is_not_what_was_sealed(world, capsys, stage, name):
    """Nothing is computed; with the file put back the result is that of before, and verify agrees."""
    whole = bytes_of(OUTS[stage])
    path = Path(name)
    content = path.read_bytes()
    forget(stage)
    INPUTS[stage, name](path)
    assert run(stage) == 1
    told = capsys.readouterr().err
    assert f"{name}: " in told
    assert "not what was sealed" in told
    assert "Put the files back as they were, or delete " in told
    assert not Path(OUTS[stage]).exists() or not list(Path(OUTS[stage]).iterdir())
    if not name.startswith("data/raw"):
        assert verify.run(world) == 1
        assert f"{name}: " in capsys.readouterr().err
    path.write_bytes(content)
    assert run(stage) == 0
    assert bytes_of(OUTS[stage]) == whole
    assert verify.run(world) == 0


@pytest.mark.parametrize("name", ["data/manifest/00.jsonl", "data/wav/00/manifest.jsonl"])
def test_split_names_an_edited_transcript(world, capsys, name):
    manifest_of_rejects = Path("data/quality/rejects.jsonl")
    files.write_text(manifest_of_rejects, "")
    seals.write(world, [Path("data/quality/seal.json")])
    edit_a_transcript(Path(name))
    assert cli.main(["split"]) == 1
    assert f"{name}: its sha256 is " in capsys.readouterr().err
    assert not Path("data/splits").exists()


def test_the_fix_that_is_named_works(world, capsys):
    """Delete the seal and run again: the stage makes its output anew from its own inputs."""
    before = bytes_of("data/wav/00")
    zero_a_piece(Path("data/wav/00/c3.wav"))
    forget("tokenize")
    assert run("tokenize") == 1
    assert "delete data/wav/00/seal.json and run snakemake" in capsys.readouterr().err
    Path("data/wav/00/seal.json").unlink()
    assert run("normalize") == 0
    assert bytes_of("data/wav/00") == before
    assert run("tokenize") == 0


def test_snakemake_is_told_of_a_changed_output_that_is_remembered(world):
    forget("normalize")
    assert run("normalize") == 0
    zero_a_piece(Path("data/wav/00/c3.wav"))
    assert stamps.freshen(world) == ["normalize-00"]


def test_an_input_that_changes_while_the_stage_runs_is_not_sealed(world, capsys, monkeypatch):
    """The very bytes that were checked are those that the seal names."""
    from sotaque.data import tokenize

    whole = tokenize.run

    def spoiling(*arguments, **named):
        result = whole(*arguments, **named)
        zero_a_piece(Path("data/wav/00/c3.wav"))
        return result

    forget("tokenize")
    monkeypatch.setattr(tokenize, "run", spoiling)
    assert run("tokenize") == 1
    assert "data/wav/00/c3.wav: its sha256 is" in capsys.readouterr().err
    assert not Path("data/tokens/tiny/00.seal.json").exists()


def test_a_models_file_that_is_edited_while_the_stage_runs_is_named(world, capsys, monkeypatch):
    from sotaque.data import normalize

    whole = normalize.run

    def editing(*arguments, **named):
        path = Path("workflow/models/tiny.yaml")
        path.write_text(path.read_text().replace("sample_rate_hz: 24000", "sample_rate_hz: 16000"))
        return whole(*arguments, **named)

    forget("normalize")
    monkeypatch.setattr(normalize, "run", editing)
    assert run("normalize") == 1
    assert "edited while normalize-00 ran: sample_rate_hz was 24000 and is 16000" in capsys.readouterr().err
    assert not Path("data/wav/00/seal.json").exists()


def test_unchanged_inputs_are_not_read_for_their_checksum(world, monkeypatch):
    job = job_of("tokenize-00", world)
    index = jobs.index_by_seal(world)
    input_check.check(job, world, index)

    def never(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(files, "sha256", never)
    input_check.check(job, world, index)


def test_a_shard_looks_at_no_other_shard(workplace, monkeypatch):
    found = settings.read(Path("params.yaml"))
    index = jobs.index_by_seal(found)
    for job in index.values():
        if job.fan.get("shard"):
            others = [path for path in job.inputs if path in index and index[path].fan.get("shard")]
            assert all(index[path].fan["shard"] == job.fan["shard"] for path in others)


def test_parameters_that_are_not_those_of_the_seals_upstream_are_named(world, capsys):
    """Also where the stage depends on none of them itself: its inputs do."""
    forget("tokenize")
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text + "normalize: {loudness_lufs: -20}\n")
    assert run("tokenize") == 1
    told = capsys.readouterr().err
    assert "data/wav/00/seal.json: normalize-00 ran with other parameters than tokenize-00 has" in told
    assert "normalize.loudness_lufs was -23.0 then and is -20.0 now" in told
    Path("params.yaml").write_text(text + "epochs: 2\n")  # no input of tokenize
    assert run("tokenize") == 0


def test_a_file_that_was_just_written_is_not_remembered(tmp_path):
    """Two writes within one tick of the clock of a file system leave the same times."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    memory = checksums.Memory(tmp_path / "memory.json")
    first = memory.sha256("a", path)
    memory.save()
    assert not (tmp_path / "memory.json").exists()
    path.write_bytes(b"ONE")
    assert memory.sha256("a", path) != first


def test_a_seal_whose_stage_needs_a_damaged_one_is_stale(world):
    for path in (Path("data/manifest/seal.json"), *Path("scratch/seals").glob("data-manifest-*")):
        path.write_text("{}")
    assert {"ingest", "normalize-00"} <= set(stamps.freshen(world))
    with pytest.raises(IntegrityError, match=r"manifest/seal.json: this seal is damaged: .*normalize-00"):
        seal.wanted(job_of("normalize-00", world), world)
    assert run("ingest") == 0
    assert stamps.freshen(world) == []
