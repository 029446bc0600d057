"""Standard streams that whoever started us has closed."""

import os
import sys
from pathlib import Path


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed (``>&-``): the work is done, its text is dropped.

    The file descriptor is taken too where it is free: else a later file would get it, and what a program started
    from here prints would go into that file.
    """
    closed = [(number, name) for number, name in enumerate(("stdin", "stdout", "stderr")) if getattr(sys, name) is None]
    for number, _ in closed:
        _take(number)
    for number, name in closed:  # once all numbers are taken, so that none of these files gets one
        setattr(sys, name, Path(os.devnull).open("w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def _take(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which may be this
        os.dup2(opened, number)
        if opened != number:
            os.close(opened)
        os.set_inheritable(number, True)
