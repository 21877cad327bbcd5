"""files: nothing half-written ever has a final name; checksums are those of the standard tools."""

import errno
import hashlib
import os
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from faults import largest_file
from sotaque import files, manifest
from sotaque.errors import ClipError
from sotaque.manifest import Reject


def test_what_is_written_is_there_and_readable_by_all(tmp_path):
    files.write_text(tmp_path / "deep/er/a.txt", "ação\n")
    assert (tmp_path / "deep/er/a.txt").read_bytes() == "ação\n".encode()
    assert stat.S_IMODE((tmp_path / "deep/er/a.txt").stat().st_mode) == 0o644


def test_json_comes_back_and_does_not_depend_on_the_order_of_keys(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"é": True}}
    files.write_json(tmp_path / "a.json", value)
    files.write_json(tmp_path / "b.json", dict(reversed(value.items())))
    assert files.read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert files.read_json(tmp_path / "a.json") == 1


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")

    def write():
        with files.atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "model"

    def write(content, fail=False):
        with files.atomic_folder(folder) as temporary:
            (temporary / "weights").write_text(content)
            assert not folder.exists() or (folder / "weights").read_text() == "first"
            if fail:
                raise KeyboardInterrupt

    write("first")
    with pytest.raises(KeyboardInterrupt):
        write("half", fail=True)
    assert (folder / "weights").read_text() == "first"
    (folder / "stale").write_text("x")
    write("second")
    assert [p.name for p in files.walk(folder)] == ["weights"]
    assert (folder / "weights").read_text() == "second"
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_library_made_in_a_folder_for_itself_alone_all_may_read(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("x")
    theirs.chmod(0o600)
    with files.atomic_folder(tmp_path / "model") as temporary:
        (temporary / "deep").mkdir(mode=0o700)
        (temporary / "deep" / "weights").touch(mode=0o600)
        os.link(theirs, temporary / "linked")
    deep = tmp_path / "model" / "deep"
    assert [path.stat().st_mode & 0o777 for path in (deep, deep / "weights")] == [0o755, 0o644]
    assert theirs.stat().st_mode & 0o777 == 0o600


def test_the_checksum_is_that_of_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_values_have_equal_checksums():
    assert files.sha256_of({"a": 1, "b": [2]}) == files.sha256_of({"b": [2], "a": 1})
    assert files.sha256_of({"a": 1}) != files.sha256_of({"a": 2})
    assert files.sha256_of([]) == hashlib.sha256(b"[]").hexdigest()


def test_walk_lists_files_only_sorted_by_their_path(tmp_path):
    for name in ("b/x", "a-b", "a/z", "a/b/c"):
        files.write_text(tmp_path / name, "")
    (tmp_path / "empty").mkdir()
    assert [p.relative_to(tmp_path).as_posix() for p in files.walk(tmp_path)] == [
        "a-b",
        "a/b/c",
        "a/z",
        "b/x",
    ]


def test_a_copy_has_the_same_bytes_and_is_a_file_of_its_own(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    files.copy(tmp_path / "a", tmp_path / "deep/b")
    with (tmp_path / "deep/b").open("r+b") as stream:
        stream.write(b"changed in place")
    assert (tmp_path / "a").read_bytes() == content
    assert (tmp_path / "deep/b").read_bytes() == b"changed in place" + content[16:]


def test_a_read_only_link_is_the_file_itself(tmp_path):
    """As in the hub client's cache, where the name is a link to the file that holds the bytes."""
    (tmp_path / "blob").write_text("x")
    (tmp_path / "name").symlink_to("blob")
    files.link_read_only(tmp_path / "name", tmp_path / "deep/b")
    linked = tmp_path / "deep/b"
    assert not linked.is_symlink()
    assert linked.stat().st_ino == (tmp_path / "blob").stat().st_ino
    assert stat.S_IMODE(linked.stat().st_mode) == 0o444


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\ud800"])
def test_a_damaged_record_is_an_empty_one(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert files.read_record(tmp_path / "a.json") == {}


def test_a_record_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "a.json/deep").mkdir(parents=True)
    assert files.read_record(tmp_path / "a.json") == {}
    files.write_record(tmp_path / "a.json", {"x": 1})
    assert files.read_record(tmp_path / "a.json") == {"x": 1}


def test_a_reader_of_the_old_file_keeps_the_old_bytes(tmp_path):
    """The new file takes the name; the old one is not written over."""
    files.write_text(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as reader:
        files.write_text(tmp_path / "a.txt", "new")
        assert reader.read() == "old"


def test_many_files_are_waited_for_at_once(tmp_path):
    for number in range(3):
        files.write_bytes(tmp_path / f"{number}.wav", b"sound", wait=False)
    files.settle(tmp_path)
    assert {p.name: p.read_bytes() for p in files.walk(tmp_path)} == {f"{n}.wav": b"sound" for n in range(3)}
    with pytest.raises(OSError, match="gone"):
        files.settle(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [(1, "a", False)]),
        (b"a\r\n\nb\n", [(1, "a", False), (2, "", False), (3, "b", False)]),
        (b"a\rb\r", [(1, "a", False), (2, "b", False)]),
        (b"a\rb\nc", [(1, "a\rb", False), (2, "c", False)]),
        (b"\xef\xbb\xbfa\xff\n", [(1, "a\udcff", False)]),
        ("é\r\nb".encode("utf-16"), [(1, "é", False), (2, "b", False)]),
        ("éb".encode("utf-16")[:-1], [(1, "é\ufffd", False)]),
        ("a\u2028b\x85\x0b".encode(), [(1, "a\u2028b\x85\x0b", False)]),
        (b"123456789\n", [(1, "123456789", False)]),
        (b"1234567890\r\nb", [(1, "1234567890", False), (2, "b", False)]),
        (b"12345678901\nb", [(1, "1234567890", True), (2, "b", False)]),
        (b"123456789012345678901234567890\r\nb\r\n", [(1, "1234567890", True), (2, "b", False)]),
    ],
)
def test_lines_are_numbered_and_cut_at_the_limit(tmp_path, content, expected):
    (tmp_path / "a.txt").write_bytes(content)
    assert list(files.iterate_lines(tmp_path / "a.txt", max_characters=10)) == expected


def test_a_line_of_gigabytes_needs_no_memory(tmp_path):
    """A sparse file of 1 GiB of NUL, then a second line."""
    with open(tmp_path / "a.txt", "wb") as stream:
        stream.truncate(2**30)
        stream.seek(2**30)
        stream.write(b"\nlast\n")
    tracemalloc.start()
    lines = [(number, len(text), cut) for number, text, cut in files.iterate_lines(tmp_path / "a.txt")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [(1, files.MAX_LINE_CHARACTERS, True), (2, 4, False)]
    assert peak < 50e6
    with pytest.raises(ClipError, match="text-too-long"):
        files.read_untrusted(tmp_path / "a.txt", 1000)


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "dangling", "absent", "long", "nul"])
def test_what_is_no_regular_file_is_said_so_and_never_waited_for(tmp_path, kind):
    path = tmp_path / {"long": "x" * 5000, "nul": "a\0b"}.get(kind, "a.txt")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("loop", "dangling"):
        path.symlink_to({"loop": "a.txt", "dangling": "gone.txt"}[kind])
    with pytest.raises(ClipError, match="missing"):
        files.read_untrusted(path, 10)
    with pytest.raises(ClipError, match="missing"):
        list(files.iterate_lines(path))


WRITERS = {
    "safetensors": lambda path: files.save_tensors({"a": torch.ones(100_000)}, path),
    "torch": lambda path: files.save_torch({"a": torch.ones(100_000)}, path),
    "npy": lambda path: files.write_bytes(path, files.npy(np.ones(100_000))),
    "json": lambda path: files.write_json(path, ["one"] * 100_000),
    "manifest": lambda path: manifest.write(path, [Reject(f"a{n}", "b", "c", "d", "e") for n in range(9000)]),
}


@pytest.mark.parametrize("size", [0, 1000, 399_990])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_an_os_error_that_names_the_file_and_leaves_nothing(tmp_path, writer, size):
    """The last size lies in the last bytes of the tensors, which are written behind a header."""
    full = pytest.raises(OSError, match="File too large")
    with largest_file(size), full as caught, files.atomic_folder(tmp_path / "made") as folder:
        WRITERS[writer](folder / "a.bin")
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).name == "a.bin"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_torch_says_what_the_disk_said():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        files.save_torch({"a": torch.ones(100_000)}, Path("/dev/full"))


def test_what_is_saved_comes_back(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    files.save_tensors(tensors, tmp_path / "a.safetensors")
    files.save_torch(tensors, tmp_path / "a.pt")
    for found in (load_file(tmp_path / "a.safetensors"), torch.load(tmp_path / "a.pt", weights_only=True)):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_an_error_that_is_not_the_disk_s_stays_what_it_is(tmp_path):
    shared = torch.ones(4)
    with pytest.raises(RuntimeError, match="share memory"):
        files.save_tensors({"a": shared, "b": shared}, tmp_path / "a.safetensors")


def test_json_that_is_nested_too_deep_is_a_value_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deep"):
        files.read_json(tmp_path / "a.json")
