"""What commands print: results on stdout, all else on stderr; one error style for people, one for machines."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from kit.errors import EdgeproofError

VERDICT_EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}

PATIENCE_S = 2.0
"""Nobody needs to be told what a shorter wait is for."""


def say(text: str) -> None:
    """One line on stdout, with what a file or a device put into it made harmless for the terminal."""
    click.echo(_plain(text))


def say_aside(text: str) -> None:
    """One line on stderr, beside the result, made harmless likewise."""
    click.echo(_plain(text), err=True)


def columns(stream: TextIO | None = None) -> int:
    """How many columns a line on `stream` (stdout) may have: the terminal's, at least 40; 80 where there is none."""
    import shutil

    return max(40, shutil.get_terminal_size((80, 24)).columns) if (stream or sys.stdout).isatty() else 80


def wrapped(text: str, *, first: str, rest: str) -> list[str]:
    """`text` as lines that fit the terminal, the first after `first` and the others after `rest`."""
    import textwrap

    return textwrap.wrap(
        text, columns(), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    ) or [first]


def tell(text: str, first: str = "") -> None:
    """`text` on stdout in lines that fit, after `first` and then as far in; words are kept whole, to be copied."""
    for line in wrapped(text, first=first, rest=" " * len(first)):
        say(line)


def emulated_lines(parts: Sequence[str]) -> list[str]:
    """What must stand above the figures of a device that is emulated in part; nothing for one that is not."""
    text = f"EMULATED: {', '.join(parts)}; no figure of these is one of hardware"
    return wrapped(text, first="", rest=" " * len("EMULATED: ")) if parts else []


def indented(text: str) -> None:
    """`text` on stdout, indented by four columns; nothing if it is empty."""
    for line in wrapped(text, first="    ", rest="    ") if text else ():
        say(line)


@contextmanager
def waiting(text: str) -> Iterator[Callable[[], None]]:
    """Say `text` on a terminal's stderr when what is inside takes long, unless the function given is called before."""
    import threading

    timer = threading.Timer(PATIENCE_S, say_aside, [text])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


def print_json(value: object) -> None:
    """One JSON object on stdout; a NaN or an infinity in it would be a bug, and raises ValueError.

    Characters that could steer a terminal are escaped as JSON does; what a program parses stays the same.
    """
    lines = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).split("\n")
    click.echo("\n".join("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line) for line in lines))


def show_error(
    error: EdgeproofError, *, as_json: bool, verbose: bool = False, cause: BaseException | None = None
) -> int:
    """Print an error (stderr; with `as_json` an object on stdout) and return its exit code."""
    if as_json:
        print_json(error_object(error))
    else:
        width = columns(sys.stderr) if sys.stderr.isatty() else None
        click.echo(error_text(error, color=use_color(sys.stderr), width=width), err=True)
    if verbose and (cause or error.__cause__ or error.exit_code == EdgeproofError.exit_code):
        click.echo("".join(traceback.format_exception(cause or error)), err=True)
    return error.exit_code


def error_object(error: EdgeproofError) -> dict[str, object]:
    """An error as a JSON object."""
    return {
        "schema": "edgeproof/error/1",
        "error": {
            "slug": error.slug,
            "what": _plain(error.what),
            "where": _plain(error.where),
            "next_step": _plain(error.next_step),
            "kept": _plain(error.kept),
            "exit_code": error.exit_code,
        },
    }


def error_text(error: EdgeproofError, *, color: bool, width: int | None = None) -> str:
    """An error for people: what, where, what to do next, what is kept; each a line, or lines of at most `width`."""
    head = f"error[{error.slug}]"
    rows = (("where", error.where), ("fix", error.next_step), ("kept", error.kept))
    labelled = [(f"{head}: ", error.what)] + [(f"  {label:<6} ", text) for label, text in rows if text]
    text = "\n".join(_row(label, _plain(text), width) for label, text in labelled)
    return text.replace(head, click.style(head, fg="red", bold=True), 1) if color else text


def _row(label: str, text: str, width: int | None) -> str:
    """A label and its text in one line, or in lines of `width` with words kept whole, to be copied."""
    import textwrap

    if width is None:
        return label + text
    return textwrap.fill(
        text, width, initial_indent=label, subsequent_indent=" " * 9, break_on_hyphens=False, break_long_words=False
    )


def _plain(text: str) -> str:
    """Text from a model, a device or a file must not steer the terminal: control characters are shown, not sent."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def use_color(stream: object) -> bool:
    """Whether to colour: NO_COLOR, then FORCE_COLOR, then whether `stream` is a terminal (no-color.org)."""
    import os

    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"


def use_ascii(stream: object) -> bool:
    """Whether the stream's encoding cannot show the signs that verdicts use."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "✓✕█−≤".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False
