"""Options that several commands have, with the same names and words in each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def common_options(function: F) -> F:
    """Add the options that every command has: ``--json`` and ``-v``."""
    function = click.option("-v", "--verbose", is_flag=True, help="Say more; show a traceback for a bug.")(function)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for machines.")(function)


def quiet_option(function: F) -> F:
    """Add ``-q`` to a command that shows progress."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress.")(function)


def device_option(function: F) -> F:
    """Add ``--device``, this machine where it is left out."""
    words = "Device: a name, a TOML file or a link."
    return click.option("--device", default="local", show_default=True, help=words)(function)


def runs_option(function: F) -> F:
    """Add the option that says where run folders are."""
    return click.option(
        "--runs",
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="Where run folders are kept.",
    )(function)


def run_options(function: F) -> F:
    """Add what every command has that makes a run: ``--runs``, ``--resume``, ``-q`` and the common ones."""
    words = "Go on with an unfinished run; only what is missing is done."
    function = quiet_option(common_options(function))
    return runs_option(click.option("--resume", metavar="RUN", help=words)(function))


def trust_pickle_option(function: F) -> F:
    """Add ``--trust-pickle`` to a command that loads models."""
    words = "Load a pickled model: this can run any code that is in the file."
    return click.option("--trust-pickle", is_flag=True, help=words)(function)


def trust_options(function: F) -> F:
    """Add what lets a command run others' code: pickled models, and measures that a profile names."""
    words = "Run measures that the profile names as file.py:function."
    return trust_pickle_option(click.option("--trust-measures", is_flag=True, help=words)(function))
