"""manifest: what is written is read, and a bad line is named by file and number."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from sotaque import manifest
from sotaque.errors import InputError
from sotaque.manifest import Reject, Utterance


def clip(identifier: str, **more) -> Utterance:
    return Utterance(identifier, f"wavs/{identifier}.wav", "Olá \u2028 “mundo”", "ana", "pt", **more)


def test_rows_come_back_sorted_by_id_whatever_their_characters(tmp_path):
    rows = [clip("b", loudness_lufs=-23.5), clip("a", part="test", group="g"), clip("c", duration_s=1.25)]
    manifest.write(tmp_path / "m.jsonl", rows)
    assert manifest.read(tmp_path / "m.jsonl") == sorted(rows, key=lambda row: row.id)


def test_the_order_of_rows_does_not_change_the_bytes(tmp_path):
    rows = [clip(f"c{n}") for n in range(10)]
    manifest.write(tmp_path / "a.jsonl", rows)
    manifest.write(tmp_path / "b.jsonl", rows[::-1])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_rejects_are_read_as_rejects_and_an_empty_file_is_no_rows(tmp_path):
    reject = Reject("a", "wavs/a.wav", "ingest", "missing", "cannot be opened")
    manifest.write(tmp_path / "r.jsonl", [reject])
    manifest.write(tmp_path / "none.jsonl", [])
    assert manifest.read(tmp_path / "r.jsonl", Reject) == [reject]
    assert manifest.read(tmp_path / "none.jsonl") == []
    assert (tmp_path / "none.jsonl").read_bytes() == b""


GOOD = '{"id": "a", "audio": "a.wav", "text": "t", "speaker": "s", "language": "pt"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ("[1, 2]", "line 2: "),
        ("7", "line 2: "),
        ("null", "line 2: "),
        ("[" * 100_000, "line 2: not JSON: brackets are nested too deep"),
        ("\udcff", "line 2: not JSON"),
        ('{"id": "b"}', r"line 2: .*audio"),
        (GOOD.replace('"a"', "7"), r"line 2: id is 7, expected str"),
        (GOOD.replace('"t"', "[[]]"), r"line 2: text is \[\[\]\], expected str"),
        (GOOD.replace('"t"', '"\\ud800"'), r"line 2: text holds bytes that are not UTF-8"),
        (GOOD.replace("}", ', "duration_s": NaN}'), r"line 2: duration_s is nan, expected float"),
        (GOOD.replace("}", ', "duration_s": 1e999}'), r"line 2: duration_s is inf, expected float"),
        (GOOD.replace("}", f', "duration_s": {10**400}}}'), r"line 2: duration_s is 10+, expected float"),
        (GOOD.replace("}", f', "duration_s": {"9" * 5000}}}'), r"line 2: not JSON: Exceeds the limit"),
        (GOOD.replace('"a"', '"b"').replace("}", ', "colour": 1}'), r"line 2: unknown fields \['colour'\]"),
        (GOOD, r"line 2: the id 'a' stands twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{GOOD}\n{line}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=message) as caught:
        manifest.read(path)
    assert str(caught.value).startswith(str(path))


def test_a_line_that_is_far_too_long_is_named_and_needs_no_memory(tmp_path):
    path = tmp_path / "m.jsonl"
    with open(path, "wb") as stream:
        stream.write(GOOD.encode() + b"\n")
        stream.truncate(2**28)
    with pytest.raises(InputError, match=r"m\.jsonl, line 2: over 4194304 characters on one line"):
        manifest.read(path)


def test_a_whole_number_is_a_duration_too(tmp_path):
    (tmp_path / "m.jsonl").write_text(GOOD.replace("}", ', "duration_s": 3, "end_s": null}') + "\n")
    [row] = manifest.read(tmp_path / "m.jsonl")
    assert (row.duration_s, type(row.duration_s), row.end_s) == (3.0, float, None)


def test_a_missing_manifest_says_how_to_make_it():
    with pytest.raises(InputError, match=r"nowhere\.jsonl.*run the stage"):
        manifest.read(Path("nowhere.jsonl"))


def test_shards_are_named_so_that_they_sort():
    assert manifest.shard_names(3) == ["00", "01", "02"]
    names = manifest.shard_names(1200)
    assert names[7] == "0007"
    assert names == sorted(names)


def test_the_shard_follows_from_the_id_alone():
    digest = int(hashlib.sha256(b"LJ001-0001").hexdigest()[:16], 16)
    assert manifest.shard_of("LJ001-0001", 7) == f"{digest % 7:02d}"


def test_shards_are_of_like_size():
    counts = Counter(manifest.shard_of(f"clip-{n}", 4) for n in range(8000))
    assert sorted(counts) == manifest.shard_names(4)
    assert all(abs(count - 2000) < 200 for count in counts.values())
