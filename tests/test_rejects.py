"""Codes of rejects: declared once, used, and explained on the page that people are sent to."""

import ast
import re
import typing

import pytest

from conftest import ROOT
from sotaque.errors import REMEDIES, ClipError
from sotaque.manifest import Reject
from sotaque.settings import Code

PAGE = ROOT / "docs/rejects.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \| (.+) \|$", re.MULTILINE)


def test_the_page_says_of_every_code_what_the_code_says():
    rows = {code: way.replace(r"\|", "|") for code, _, way in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert rows == REMEDIES


def test_the_page_explains_no_code_twice():
    codes = [code for code, _, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(codes) == len(set(codes))


def test_every_code_is_given_by_some_line_of_the_package_and_no_other_is():
    given = set(typing.get_args(Code))
    for path in (ROOT / "src/sotaque").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ClipError":
                given |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    assert given == set(REMEDIES)


def test_a_code_that_is_not_declared_cannot_be_given():
    with pytest.raises(KeyError):
        ClipError("no-such-code", "reason")


def test_a_reject_says_what_was_found_and_the_way_out():
    error = ClipError("missing", "cannot be opened")
    assert str(error) == f"missing: cannot be opened; {REMEDIES['missing']}"
    reject = Reject.of("a", "b\udcff.wav", "ingest", error)
    assert (reject.audio, reject.reason) == ("b\\udcff.wav", f"cannot be opened; {REMEDIES['missing']}")
