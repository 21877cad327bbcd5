"""YAML as version 1.2 reads it; whatever else a file holds is one message with file, line and fix."""

import datetime
import json
import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sotaque import __main__ as cli
from sotaque import model_spec, settings, yaml_file
from sotaque.errors import SettingsError

# From the table of the core schema (YAML 1.2.2, 10.3.2), and what YAML 1.1 reads otherwise.
SCALARS = {
    "010": 10,
    "08": 8,
    "-0": 0,
    "+12": 12,
    "0o17": 15,
    "0x1F": 31,
    "1e-4": 0.0001,
    "1E4": 10000.0,
    "0.": 0.0,
    ".5": 0.5,
    "+12.30e+02": 1230.0,
    "~": None,
    "": None,
    "null": None,
    "NULL": None,
    "true": True,
    "TRUE": True,
    "False": False,
    "nUll": "nUll",
    "tRue": "tRue",
    "yes": "yes",
    "No": "No",
    "on": "on",
    "off": "off",
    "y": "y",
    "1:30": "1:30",
    "12:30:45": "12:30:45",
    "0o8": "0o8",
    "0x": "0x",
    "1e": "1e",
    "1.2.3": "1.2.3",
    ".": ".",
    "_1": "_1",
    "nan": "nan",
    "Infinity": "Infinity",
    "2001-1-1": "2001-1-1",
    "20010101": 20010101,
    "'010'": "010",
    '"true"': "true",
    '"2001-01-01"': "2001-01-01",
}


@pytest.mark.parametrize("written", SCALARS)
def test_a_value_is_what_the_core_schema_says(written):
    value = yaml_file.parse(f"key: {written}", "a.yaml")["key"]
    assert (type(value), value) == (type(SCALARS[written]), SCALARS[written])


@pytest.mark.parametrize("written", SCALARS)
def test_dvc_reads_the_same_value(written):
    """DVC reads params.yaml by ruamel.yaml and puts values into commands."""
    assert YAML(typ="safe").load(f"key: {written}")["key"] == SCALARS[written]


@pytest.mark.parametrize(
    ("written", "dvc"),
    [
        ("2001-01-01", datetime.date(2001, 1, 1)),
        ("2001-1-1 10:00:00", datetime.datetime(2001, 1, 1, 10)),
        ("1_000", 1000),
        ("1_0.5", 10.5),
        ("+_1", 1),
        ("._1", 0.1),
        ("0b11", 3),
        ("+0x1f", 31),
        ("-0o7", -7),
        ("0x_1", 1),
    ],
)
def test_a_string_that_dvc_takes_for_something_else_must_be_quoted(written, dvc):
    assert YAML(typ="safe").load(f"key: {written}")["key"] == dvc
    with pytest.raises(SettingsError, match=r"a\.yaml: line 1: key is .*write it in quotes"):
        yaml_file.parse(f"key: {written}", "a.yaml")
    assert yaml_file.parse(f'key: "{written}"', "a.yaml") == {"key": written}


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1, c: [2, 3]}\nd: *x\n",
        "base: &b {p: 1, q: 2}\nmine: {<<: *b, q: 3}\n",
        "base: &b {p: 1, q: 2}\nmine: {q: 3, <<: *b}\n",
        "one: &a {p: 1}\ntwo: &b {p: 2, q: 2}\nmine:\n  <<: [*a, *b]\n  r: 3\n",
        "- a\n- - b\n  - {c: d}\n- |\n  two\n  lines\n- >-\n  one\n  line\n",
        "%YAML 1.2\n---\na: 1\n...\n",
        "# nothing but a remark\n",
        "",
        "plain",
        "a: 'it''s'\nb: \"tab\\tand \\u00e9\"\n",
        "? a\n: 1\n? b\n",
    ],
)
def test_lists_mappings_blocks_anchors_and_merges_are_those_of_ruamel(text):
    assert yaml_file.parse(text, "a.yaml") == YAML(typ="safe").load(text)


def test_what_json_writes_is_read_back():
    value = {"a": [1, -2.5, 1e-07, 1e22, True, None, "é \"'\\ \n\t"], "b": {"c": {}, "d": []}}
    for ascii_only in (True, False):
        assert yaml_file.parse(json.dumps(value, indent=2, ensure_ascii=ascii_only), "a.json") == value


def test_an_alias_is_a_copy():
    value = yaml_file.parse("a: &x {b: 1}\nc: *x\n", "a.yaml")
    value["c"]["b"] = 2
    assert value["a"] == {"b": 1}


def _laughs(levels: int) -> str:
    lists = ["&a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lists += [f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return f"lr: [{', '.join(lists)}]"


FAULTS = {
    "laughs": (_laughs(9), r"line 1: over 100000 values; write out what the aliases"),
    "deep-flow": (f"lr: {'[' * 100_000}{']' * 100_000}", r"line 1: over 100 nested levels"),
    "deep-mapping": (f"lr: {'{a: ' * 100_000}", r"line 1: over 100 nested levels"),
    "deep-block": (f"lr: {'- ' * 50_000}x", r"line 1"),
    "deep-key": (f"lr: {'? ' * 50_000}x", r"line 1"),
    "many-values": (f"lr: [{'1,' * 100_001}]", r"line 1: over 100000 values; divide the file"),
    "long-number": (f"seed: {'9' * 5000}", r"line 1: seed is 9{80}: 5000 digits; expected a number below"),
    "large-number": ("seed: 9223372036854775808", r"seed is 9223372036854775808"),
    "nan-limit": (
        "quality: {drop: {noisy: .nan}}",
        r"line 1: quality\.drop\.noisy is \.nan; expected a finite",
    ),
    "nan-in-list": ("a: [1, .NaN]", r"line 1: a\[1\] is \.NaN"),
    "infinity": ("lr: -.inf", r"lr is -\.inf; expected a finite number"),
    "overflow": ("lr: 1e999", r"lr is 1e999; expected a finite number"),
    "bool-tag": (
        "tracking: {enabled: !!bool x}",
        r"line 1: tracking\.enabled has the tag .*bool; tags are not",
    ),
    "int-tag": ("seed: !!int x", r"seed has the tag"),
    "float-tag": ("lr: !!float 1:x", r"lr has the tag"),
    "binary": ("model: !!binary aGk=", r"model has the tag"),
    "set": ("lora: !!set {a, b}", r"lora has the tag"),
    "ordered": ("lora: !!omap [a: 1]", r"lora has the tag"),
    "timestamp": ("model: !!timestamp x", r"model has the tag"),
    "python": ("model: !!python/name:os.system", r"model has the tag"),
    "own-tag": ("model: !mine x", r"model has the tag !mine"),
    "key-tag": ("!!int x: 1", r"line 1: the key 'x' has a tag"),
    "bad-date": ("model: 2001-13-45", r"model is 2001-13-45, which is a string to some"),
    "list-key": ("? [a]\n: 1", r"line 1: a key is a sequence; expected a string"),
    "mapping-key": ("seed: 1\n? {a: b}\n: 1", r"line 2: a key is a mapping"),
    "alias-key": ("seed: &s 1\n*s : 1", r"line 2: a key is a alias"),
    "null-key": ("{~: 2}", r"unknown key ~: 2; "),
    "no-tag": ("model: ! x", r"model has the tag !"),
    "old-break": ("lr: 1\nmodel: 'a\u2028b'", r"line 2: the character U\+2028 ends a line in YAML 1\.1"),
    "next-line": ("# \x85lr: 1", r"line 1: the character U\+0085"),
    "number-key": ("1: 2", r"unknown key 1: 2"),
    "twice": ("lr: 1\n\nlr: 2", r"line 3: the key 'lr' stands twice"),
    "twice-quoted": ("lr: 1\n'lr': 2", r"line 2: the key 'lr' stands twice"),
    "twice-inside": ("lora:\n  rank: 1\n  rank: 1", r"line 3: the key 'rank' stands twice"),
    "merge-a-word": ("lora: {<<: x}", r"line 1: lora\.<< is no mapping; merge a mapping"),
    "merge-as-value": ("model: <<", r"model is <<, which is a string to some programs"),
    "equals": ("model: =", r"model is =, which is a string to some programs"),
    "no-anchor": ("lora: *none", r"line 1: \*none stands for no value before it"),
    "endless": ("lora: &a [*a]", r"line 1: \*a stands for no value before it"),
    "two-documents": ("lr: 1\n---\nlr: 2", r"line 2: a second document begins"),
    "version": ("%YAML 1.1\n---\nlr: 1", r"%YAML is not 1\.2; remove"),
    "next-version": ("%YAML 3.0\n---\nlr: 1", r"line 1: not valid YAML: found incompatible YAML document"),
    "not-closed": ("lr: [1\nseed: 2", r"line 2: not valid YAML: while parsing a flow sequence"),
    "tab": ("lora:\n\trank: 1", r"line 2: not valid YAML: .*cannot start any token"),
    "list": ("- a", r"the file is \['a'\], expected a mapping"),
    "word": ("lr", r"the file is 'lr', expected a mapping"),
    "nul": ('model: "a\\0b"', r"line 1: the character '\\x00'; remove it"),
    "escape": ('model: "a\\eb"', r"line 1: the character '\\x1b'; remove it"),
    "bare-nul": ("model: a\0b", r"not valid YAML: .*control characters are not allowed"),
    "surrogate": ('model: "\\ud800"', r"line 1: not valid YAML: .*invalid Unicode character"),
    "long-word": (f"lr: {'x' * 2**20}", r"lr is 'x+\.\.\.x+', expected a number"),
    "long-key": (f"{'x' * 1000}: 1", r"unknown key x{80}: 1"),
}


@pytest.fixture
def verify(workplace, capsys):
    """Give params.yaml to a command; returns its exit status and what it says."""

    def run(content: bytes) -> tuple[int, str]:
        Path("params.yaml").write_bytes(content)
        status = cli.main(["verify", "--params", "params.yaml"])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_short_message_with_file_line_and_fix(verify, case):
    content, message = FAULTS[case]
    status, said = verify(content.encode())
    assert status == 2
    assert said.startswith("sotaque verify: params.yaml: ")
    assert said.count("\n") == 1
    assert len(said) < 1000
    with pytest.raises(SettingsError, match=message):
        raise SettingsError(said)


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_a_models_file_is_no_traceback_either(workplace, case):
    (settings.MODELS / "micro.yaml").write_text(FAULTS[case][0])
    with pytest.raises(SettingsError, match=r"^workflow/models/micro\.yaml: "):
        model_spec.read("micro")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr: 1".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0l\0r\0:\0 \x001", "it is UTF-16; save it as UTF-8"),
        (b"seed: 1\nmodel: caf\xe9\n", "the byte 0xe9 in line 2 is not UTF-8; save it as UTF-8"),
        (b"lr: 1\n#" + b"x" * yaml_file.MAX_BYTES, "more than 4194304 bytes"),
    ],
)
def test_bytes_that_are_not_utf_8_or_too_many_are_named(verify, content, message):
    status, said = verify(content)
    assert (status, said.count("\n")) == (2, 1)
    assert message in said


def test_a_byte_order_mark_and_an_empty_file_change_nothing(workplace):
    Path("params.yaml").write_bytes(b"\xef\xbb\xbfseed: 010\r\n")
    assert settings.read(Path("params.yaml")).seed == 10
    Path("params.yaml").write_bytes(b"")
    assert settings.read(Path("params.yaml")) == settings.Settings()


def test_yaml_1_1_is_not_read(verify):
    """By YAML 1.1 this would be seed 8 and 90 epochs."""
    status, said = verify(b"seed: 010\nepochs: 1:30\n")
    assert (status, said) == (
        2,
        "sotaque verify: params.yaml: epochs is '1:30', expected a whole number from 1 to 10000\n",
    )


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "nowhere/params.yaml"])
def test_a_name_that_no_file_has_is_one_message(workplace, capsys, name):
    assert cli.main(["verify", "--params", name]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop"])
def test_what_is_no_file_is_not_waited_for(workplace, capsys, kind):
    path = Path("params.yaml")
    path.unlink()
    {"fifo": os.mkfifo, "folder": os.mkdir, "loop": lambda p: os.symlink(p, p)}[kind](path)
    assert cli.main(["verify"]) == 2
    assert capsys.readouterr().err.startswith("sotaque verify: params.yaml: ")
