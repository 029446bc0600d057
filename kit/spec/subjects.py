"""Names of slices as findings have them: ``exercise=row & side=left``, one part a column."""

import re

JOINED = " & "
"""Between the parts of a crossing's subject."""

_PART = re.compile(r'(?:^| & )("(?:[^"]|"")*"|[^=]*?)=')
"""The column that a part starts with, and the sign after it."""


def named_part(column: str, value: str) -> str:
    """``column=value``; a column is in quotes where it could be read otherwise: ``"k=1"=yes``."""
    if "=" in column or JOINED in column or column.startswith('"'):
        column = '"' + column.replace('"', '""') + '"'
    return f"{column}={value}"


def in_words(subject: str) -> str:
    """A slice as people read it: "exercise=row & side=left" is "exercise: row & side: left"."""
    return _PART.sub(lambda found: f"{found.group()[:-1]}: ", subject)


def values_of(subject: str) -> str:
    """The values alone: "row & left"."""
    return _PART.sub(lambda found: JOINED if found.start() else "", subject)
