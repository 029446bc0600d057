"""Names of slices as findings have them: ``exercise=row & side=left``, one part a column."""

import re

JOINED = " & "
"""Between the parts of a crossing's subject."""

_PART = re.compile(r'(^| & )("(?:[^"]|"")*"|[^=]*?)=("(?:[^"]|"")*"(?= & |$)|.*?(?= & |$))', re.DOTALL)
"""What stands before a part, its column, and its value."""


def named_part(column: str, value: str) -> str:
    """``column=value``; each is in quotes where it could be read otherwise: ``"k=1"=yes``, ``k="a & b"``."""
    if "=" in column or JOINED in column or column.startswith('"'):
        column = _quoted(column)
    if JOINED in value or value.startswith('"'):
        value = _quoted(value)
    return f"{column}={value}"


def in_words(subject: str) -> str:
    """A slice as people read it: "exercise=row & side=left" is "exercise: row & side: left"."""
    return _PART.sub(r"\1\2: \3", subject)


def values_of(subject: str) -> str:
    """The values alone: "row & left"."""
    return _PART.sub(r"\1\3", subject)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
