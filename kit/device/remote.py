"""The agent's command on another machine, and what it means when that machine cannot start it."""

import re
import shlex
from collections.abc import Callable, Sequence

_LONGEST = 4096
_NO_PROGRAM = re.compile(
    r"([^\s:]{1,200}): (?:command |inaccessible or )?not found|([^\s:]{1,200}): No such file|not found: (\S{1,200})"
)
_NO_FILE = re.compile(r"can't open file '?([^':]{1,200})")
_NO_MODULE = re.compile(r"No module named '?([\w.]{1,200})")


def shell_words(command: Sequence[str]) -> str:
    """The words as one line that a POSIX shell at the other end takes apart into the same words."""
    return shlex.join(command)


def not_started(said: str, copy: Callable[[str], str]) -> tuple[str, str] | None:
    """What failed and what to do, from what a shell or Python wrote; None where it says no such thing.

    `copy` gives the command that copies agent.pyz to a path there.
    """
    said = said[-_LONGEST:]
    if found := _NO_FILE.search(said):
        path = _short(found[1])
        return f"there is no {path} there", f"pack and copy it: edgeproof agent pack -o agent.pyz && {copy(path)}"
    if found := _NO_MODULE.search(said):
        return f"its Python has no {_short(found[1])}", "install numpy and onnxruntime for the Python that runs there"
    if found := _NO_PROGRAM.search(said):
        program = _short(found[1] or found[2] or found[3])
        return (
            f"there is no {program} there",
            f"install {program} there, or name its path: `command` in the device file",
        )
    return None


def _short(text: str) -> str:
    return "".join(c for c in text[-200:] if c.isprintable())
