"""Progress: every item passes through, and a log file gets whole lines."""

import io

import pytest

from sotaque import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_items_pass_through_in_order(capsys):
    assert list(progress.track("abc", "letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "letters: 3/3\n"


def test_items_without_a_length_are_counted(capsys):
    assert list(progress.track(iter("abcd"), "letters")) == list("abcd")
    assert capsys.readouterr().err == "letters: 4\n"


def test_plain_lines_come_every_few_seconds_with_a_note(capsys, monkeypatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.counter("train", total=10, start=6) as advance:
        for number in range(4):
            advance(f"loss {number}")
    assert capsys.readouterr().err == "train: 8/10 loss 1\ntrain: 10/10 loss 3\n"


def test_a_loop_that_breaks_off_says_how_far_it_came(capsys):
    with pytest.raises(RuntimeError):
        fail_at_second(progress.track([1, 2, 3], "work"))
    assert "work: 3/3" not in capsys.readouterr().err


def fail_at_second(items):
    for item in items:
        if item == 2:
            raise RuntimeError


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    assert list(progress.track([1, 2], "work")) == [1, 2]
    assert "2/2" in screen.getvalue()
