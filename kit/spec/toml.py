"""Read a TOML file strictly into a msgspec Struct; every mistake is a SpecError that names file, line and key."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kit.digest import digest_bytes
from kit.errors import SpecError
from kit.spec.lines import DEPTH_LIMIT, KeyPath, TooDeepError, key_lines
from kit.spec.text import hidden_character, shown
from kit.spec.text import nearest as nearest

SIZE_LIMIT_BYTES = 1 << 20

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_VALIDATION = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_WORDS = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list, [ ... ]",
    "object": "a table",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time of day",
}

Shape = TypeVar("Shape", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file: its path, digest of its bytes, data as tomllib gives it, and the line of every key."""

    path: Path
    digest: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, key: KeyPath) -> int:
        """Line of `key`, or of the nearest table around it that is in the file; 1 if none is."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def error(self, key: KeyPath, what: str, next_step: str = "") -> SpecError:
        """A SpecError about `key`, with ``file:line`` as its place."""
        name = key_text(key)
        return SpecError(
            f"{name}: {what}" if name else what, where=f"{self.path}:{self.line(key)}", next_step=next_step
        )


def key_text(key: KeyPath) -> str:
    """A key as people write it: ``require[2].at_most``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def read(path: Path) -> Document:
    """Read a TOML file of at most 1 MiB. Raises SpecError: unreadable, not UTF-8, not TOML, hidden characters."""
    content = _content(path)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError("not UTF-8 text", where=f"{path}:{line}", next_step="save the file as UTF-8") from None
    try:
        lines = key_lines(text)
        data = tomllib.loads(text)
    except TooDeepError as error:
        what = f"nested more than {DEPTH_LIMIT} deep"
        raise SpecError(what, where=f"{path}:{error.line}", next_step="use flat tables") from None
    except (ValueError, RecursionError) as error:
        raise _syntax_error(path, text, error) from None
    document = Document(path, digest_bytes(content), data, lines)
    _refuse_hidden_characters(document, (), data)
    return document


def decode(document: Document, shape: type[Shape]) -> Shape:
    """The document as `shape`; unknown keys, missing keys and wrong types are SpecErrors with their line."""
    try:
        return msgspec.convert(document.data, shape)
    except msgspec.ValidationError as error:
        raise _explain(document, shape, str(error)) from None


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SpecError("a folder, not a TOML file", where=str(path), next_step="name the file inside it")
        if not path.is_file():  # nor a pipe, which could keep us waiting for ever
            raise SpecError("no such file", where=str(path), next_step="check the path")
        with path.open("rb") as stream:
            content = stream.read(SIZE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        next_step = "check the path and its permissions"
        raise SpecError(f"cannot be read: {reason}", where=str(path), next_step=next_step) from None
    if len(content) > SIZE_LIMIT_BYTES:
        raise SpecError(
            "larger than 1 MiB, so not a profile, device file or manifest",
            where=str(path),
            next_step="name the TOML file, not the data that it describes",
        )
    return content


def _syntax_error(path: Path, text: str, error: Exception) -> SpecError:
    message = str(error) or "nested too deep"
    place = _TOML_PLACE.search(message)
    line = int(place.group(1)) if place and place.group(1) else text.rstrip("\n").count("\n") + 1
    what = shown(_TOML_PLACE.sub("", message))
    at = f", at column {place.group(2)}" if place and place.group(2) else ""
    return SpecError(f"not valid TOML: {what}{at}", where=f"{path}:{line}", next_step="see https://toml.io/en/v1.0.0")


def _refuse_hidden_characters(document: Document, key: KeyPath, value: Any) -> None:
    """Text ends up on a line of a terminal or report, where escapes, line ends or bidi marks could forge a verdict."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_hidden_characters(document, key, name)
            _refuse_hidden_characters(document, (*key, name), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_hidden_characters(document, (*key, index), inner)
    elif isinstance(value, str) and (hidden := hidden_character(value)):
        next_step = "remove it: a text is one line without control, zero-width and bidirectional characters"
        raise document.error(key, f"text with a hidden character ({hidden})", next_step)


def _explain(document: Document, shape: type[msgspec.Struct], message: str) -> SpecError:
    """msgspec's message, in words for people who write TOML, with the nearest valid key."""
    found = _VALIDATION.match(message)
    what, path = (found["what"], _key_path(found["path"] or "")) if found else (message, ())
    node, hint = _node(shape, path)
    if unknown := re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        key = (*path, unknown[1])
        return document.error(key, "unknown key", nearest(unknown[1], _field_names(node)))
    if missing := re.match(r"Object missing required field `(.*)`", what):
        _, hint = _node(shape, (*path, missing[1]))
        return document.error((*path, missing[1]), "this key is missing", hint or "add it")
    if invalid := re.match(r"Invalid enum value (.*)", what):
        known = [str(value) for value in getattr(node, "values", ())]
        return document.error(path, f"{invalid[1]} is not known here", nearest(invalid[1].strip("'"), known))
    if isinstance(node, msgspec.inspect.VarTupleType) and what.startswith("Expected `array`, got `str`"):
        step = f'write {path[-1]} = ["NAME"]'
        return document.error(path, "expected a list, [ ... ], got text", f"{step}: {hint}" if hint else step)
    words = re.sub(r"matching regex .*", "of another form", what)
    words = re.sub(r"`(\w+)(?: \| [^`]*)?`", lambda name: _WORDS.get(name[1], name[1]), words)
    return document.error(path, words[:1].lower() + words[1:], hint)


def _key_path(text: str) -> KeyPath:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", text)
    return tuple(int(index) if index else name for name, index in parts)


def _node(shape: type[msgspec.Struct], path: KeyPath) -> tuple[msgspec.inspect.Type | None, str]:
    """The type at `path` of a Struct, and what its definition says of it."""
    node: Any = msgspec.inspect.type_info(shape)
    hint = ""
    for part in path:
        if isinstance(part, int):
            node = getattr(node, "item_type", None)
        else:
            node = next((field.type for field in getattr(node, "fields", ()) if field.encode_name == part), None)
        node, inner = _bare(node)
        hint = inner or (hint if isinstance(part, int) else "")
    return node, hint


def _bare(node: Any) -> tuple[Any, str]:
    """A type without its optional None and its description, and that description."""
    hint = ""
    while isinstance(node, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(node, msgspec.inspect.Metadata):
            hint = str((node.extra_json_schema or {}).get("description", hint))
            node = node.type
        else:
            node = next(kind for kind in node.types if not isinstance(kind, msgspec.inspect.NoneType))
    return node, hint


def _field_names(node: Any) -> list[str]:
    return [field.encode_name for field in getattr(node, "fields", ())]
