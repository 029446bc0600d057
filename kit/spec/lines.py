"""Which line of a TOML text each key stands on, so that an error can name it (tomllib does not say).

The scanner follows TOML 1.0 and is linear in the text. It also refuses what tomllib would choke on: nesting
that exhausts its stack, and dotted keys of thousands of parts, whose time there grows with their square.
"""

import contextlib
import re

KeyPath = tuple[str | int, ...]
"""A place in a document: ("require", 2, "at_most") is the key at_most of the third [[require]]."""

DEPTH_LIMIT = 32

_SPACE = re.compile(r"[ \t]*+")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\[^\n])*+"|'[^'\n]*+'""")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"{3,5}'
    r"|'''(?:[^']|'(?!''))*+'{3,5}"
    r'|"(?:[^"\\\n]|\\[^\n])*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]++")


class TooDeepError(Exception):
    """Tables, lists or a dotted key go deeper than DEPTH_LIMIT; `line` says where."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of every table, key and list element of a TOML text.

    A text that is not TOML gives the keys up to the mistake, which tomllib then reports. Raises TooDeepError.
    """
    scanner = _Scanner(text)
    with contextlib.suppress(_NotTomlError):
        scanner.document()
    return scanner.lines


class _NotTomlError(Exception):
    """The text is not TOML at this position."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}
        self._line, self._counted = 1, 0

    def document(self) -> None:
        """Walk the whole file and note the line of every key."""
        table: KeyPath = ()
        while self._skip(_SPACE_AND_LINES) < len(self.text):
            if self._take("[["):
                table = self._header(list_element=True)
                self._expect("]]")
            elif self._take("["):
                table = self._header(list_element=False)
                self._expect("]")
            else:
                self._key_value(table)

    def _header(self, list_element: bool) -> KeyPath:
        path: KeyPath = ()
        parts = self._key()
        for number, part in enumerate(parts, start=1):
            path += (part,)
            if list_element and number == len(parts):
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:  # a header's earlier parts mean the newest element of a list
                self._note(path)
                path += (self._elements[path] - 1,)
            self._note(path)
        return path

    def _key_value(self, table: KeyPath, depth: int = 0) -> None:
        path = table
        for part in self._key():
            path += (part,)
            self._note(path)
        self._expect("=")
        self._value(path, depth)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            parts.append(self._match(_KEY).strip("\"'"))
            if len(parts) > DEPTH_LIMIT:
                raise TooDeepError(self._line_here())
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _value(self, path: KeyPath, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise TooDeepError(self._line_here())
        self._skip(_SPACE)
        if self._take("["):
            self._list(path, depth)
        elif self._take("{"):
            self._inline_table(path, depth)
        elif self.text.startswith(('"', "'"), self.position):
            self._match(_STRING)
        else:
            self._match(_SCALAR)

    def _list(self, path: KeyPath, depth: int) -> None:
        index = 0
        while True:
            self._skip(_SPACE_AND_LINES)
            if self._take("]"):
                return
            self._note((*path, index))
            self._value((*path, index), depth + 1)
            index += 1
            self._skip(_SPACE_AND_LINES)
            if not self._take(","):
                self._expect("]")
                return

    def _inline_table(self, path: KeyPath, depth: int) -> None:
        self._skip(_SPACE)
        while not self._take("}"):
            self._key_value(path, depth + 1)
            self._skip(_SPACE)
            if not self._take(","):
                self._expect("}")
                return

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self._line_here())

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.position)
        self.position = found.end() if found else self.position
        return self.position

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.position)
        if found is None:
            raise _NotTomlError
        self.position = found.end()
        return found.group()

    def _take(self, token: str) -> bool:
        taken = self.text.startswith(token, self.position)
        self.position += len(token) if taken else 0
        return taken

    def _expect(self, token: str) -> None:
        self._skip(_SPACE)
        if not self._take(token):
            raise _NotTomlError
