"""Errors, colour and progress, as functions."""

import io
import json
import os
import sys
import time

import pytest
from click import unstyle

from kit.cli import output
from kit.cli.output import emulated_lines, error_object, error_text, print_json, tell, use_ascii, use_color, waiting
from kit.cli.progress import Progress
from kit.errors import EdgeproofError, LinkError, SpecError


def every_error() -> list[type[EdgeproofError]]:
    found, todo = [], [EdgeproofError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += [c for c in kind.__subclasses__() if c.__module__ == "kit.errors"]
    return found


def test_every_error_has_a_slug_and_a_documented_exit_code() -> None:
    assert {kind.exit_code for kind in every_error()} <= {2, 4, 5, 6, 70, 130}
    slugs = [kind.slug for kind in every_error()]
    assert len(slugs) == len(set(slugs))


def test_an_error_says_what_where_what_next_and_what_is_kept() -> None:
    error = LinkError("it stopped answering", where="scanner", next_step="plug it in", kept="3/9 steps")
    assert error_text(error, color=False).splitlines() == [
        "error[link]: it stopped answering",
        "  where  scanner",
        "  fix    plug it in",
        "  kept   3/9 steps",
    ]
    assert error_object(error)["error"]["exit_code"] == 4  # type: ignore[index]


def test_an_error_says_nothing_where_it_has_nothing_to_say() -> None:
    assert error_text(SpecError("wrong"), color=False) == "error[spec]: wrong"


@pytest.mark.parametrize("color", [False, True])
def test_an_error_fits_the_terminal_and_words_stay_whole(color: bool) -> None:
    path = "/a/long/path/" + "x" * 60
    error = LinkError("nothing " * 20, where=path, next_step="do this " * 20, kept="3/9 steps")
    lines = unstyle(error_text(error, color=color, width=60)).splitlines()
    assert lines[0].startswith("error[link]: nothing")
    assert all(len(line) <= 60 or path in line for line in lines)
    assert any(line.endswith(path) for line in lines)
    assert all(line.startswith(("error[", "  where", "  fix    do", "  kept   3", " " * 9)) for line in lines)
    assert " ".join(" ".join(lines).split()).count("do this") == 20


def test_what_is_told_is_hung_beside_its_label(capsys: pytest.CaptureFixture[str]) -> None:
    tell("word " * 30, "label  ")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:7] for line in lines] == ["label  ", " " * 7, " " * 7]
    assert max(map(len, lines)) <= 80
    lines = emulated_lines(("device", "processor", "memory", "link", "meter", "battery"))
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).endswith("meter, battery; no figure of these is one of hardware")
    assert emulated_lines(()) == []


def test_a_long_wait_is_told_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE_S", 0.05)
    said = []
    for stream, is_over in ((Terminal(), False), (Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with waiting("waiting for scanner") as is_there:
            if is_over:
                is_there()
            time.sleep(0.3)
        said.append(stream.getvalue())
    assert said == ["waiting for scanner\n", "", ""]


def test_an_error_cannot_steer_the_terminal() -> None:
    text = error_text(SpecError("name \x1b[2J\x07 is wrong\r"), color=False)
    assert "\x1b" not in text
    assert "\\x1b" in text
    assert "\r" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_the_conventions(
    environment: dict[str, str], terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    assert use_color(Terminal() if terminal else io.StringIO()) is expected


def test_ascii_is_used_where_the_signs_cannot_be_shown() -> None:
    assert use_ascii(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert use_ascii(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert not use_ascii(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def test_progress_on_a_terminal_is_one_line_that_is_removed() -> None:
    stream = Terminal()
    progress = Progress({"a": 1.0, "b": 3.0}, stream=stream)
    progress.start("a")
    progress.finish("a")
    progress.close()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_counts_steps_by_how_long_they_take() -> None:
    progress = Progress({"a": 1.0, "b": 3.0}, stream=io.StringIO())
    progress.start("a")
    assert progress.left_s() is None
    progress.finish("a")
    assert " 25%" in progress.line(80)
    progress.start("b")
    progress.update(1, 3)
    assert " 50%" in progress.line(80)
    assert progress.left_s() is not None
    progress.finish("b")
    assert "100%" in progress.line(80)
    assert progress.left_s() == 0.0


def test_work_that_ends_by_the_clock_is_told_by_the_clock() -> None:
    progress = Progress({"a": 1.0, "b": 19.0}, ends_after_s=20.0, stream=io.StringIO())
    progress.start("waiting for scanner")
    time.sleep(0.05)
    progress.start("a")
    progress.update(1, 1000)
    left_s = progress.left_s()
    assert left_s is not None
    assert 15 < left_s < 20
    assert Progress({}, ends_after_s=0.0, stream=io.StringIO()).left_s() == 0.0


def test_reused_steps_do_not_shorten_the_estimate() -> None:
    progress = Progress({"a": 100.0, "b": 3.0}, stream=io.StringIO())
    progress.start("a")
    progress.finish("a", reused=True)
    assert progress.left_s() is None


def test_progress_into_a_pipe_is_quiet_for_short_work() -> None:
    stream = io.StringIO()
    progress = Progress({"a": 1.0}, stream=stream)
    for done in range(100):
        progress.update(done, 100)
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_a_line_fits_its_terminal(width: int) -> None:
    progress = Progress({"a step with a rather long name/int8-per-channel-reduced": 1.0}, stream=io.StringIO())
    progress.start("a step with a rather long name/int8-per-channel-reduced")
    assert len(progress.line(width)) <= max(10, width)


def test_json_does_not_steer_a_terminal_and_stays_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "a\x1b[2J\x9b\r\n\u202eé\U000e0041", "list": [1, 2.5, None]}
    print_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert "é" in text


def test_an_error_for_machines_has_no_control_characters() -> None:
    error = EdgeproofError("bad \x1b]0;owned\x07", where="a\nb", next_step="c\td", kept="e\x9b")
    said = error_object(error)["error"]
    assert isinstance(said, dict)
    assert [said[key] for key in ("what", "where", "next_step", "kept")] == [
        "bad \\x1b]0;owned\\x07", "a\\nb", "c\\td", "e\\x9b",
    ]  # fmt: skip
