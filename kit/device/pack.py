"""The agent as one file, ``agent.pyz``: what a board with only Python, numpy and onnxruntime needs (PEP 441)."""

import ast
import os
import tempfile
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import kit
from kit.digest import digest_bytes
from kit.errors import StoreError

MINIMUM_PYTHON = (3, 11)
NEEDS = ("numpy", "onnxruntime")
_ROOT = Path(kit.__file__).resolve().parent
_WHOLE = ("agent", "wire")  # the agent tells a digest of all of them, so all of them are there
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = f"""\
# The edgeproof agent: python3 agent.pyz --help. This file is to be read by any Python, so that an old one can say so.
import sys

if sys.version_info < {MINIMUM_PYTHON}:
    versions = {MINIMUM_PYTHON} + sys.version_info[:2]
    sys.exit("the edgeproof agent needs Python %d.%d or newer; this is %d.%d" % versions)

import importlib.util

missing = [name for name in {NEEDS} if importlib.util.find_spec(name) is None]
if missing:
    sys.exit("the edgeproof agent needs %s: python3 -m pip install %s" % (" and ".join(missing), " ".join(missing)))

from kit.agent.__main__ import main

main()
"""


def pack_agent(path: str | Path) -> str:
    """Write the agent to `path`, executable, replacing what is there; the digest of the file.

    The same release gives the same bytes on every machine. Raises StoreError if it cannot be written.
    """
    data = _archive()
    target = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                os.fchmod(descriptor, 0o755)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        fix = "look at the space, the permissions and the path"
        raise StoreError(f"cannot write the agent: {error.strerror}", where=str(target), next_step=fix) from None
    return digest_bytes(data)


def agent_files() -> list[Path]:
    """The source files that the agent needs, sorted: its own, and what they import of this package, however late."""
    waiting = [file for folder in _WHOLE for file in (_ROOT / folder).glob("*.py")]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file)
    return sorted(found)


def _archive() -> bytes:
    """The zip file; nothing in it is compressed, since compressors differ from one machine to the next."""
    entries = [("__main__.py", _MAIN.encode())]
    entries += [(f"kit/{file.relative_to(_ROOT).as_posix()}", file.read_bytes()) for file in agent_files()]
    stream = BytesIO()
    stream.write(_SHEBANG)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # Unix, whatever this machine is
            archive.writestr(entry, data)
    return stream.getvalue()


def _imports(file: Path) -> Iterator[Path]:
    """The files of this package that one file imports, each with the packages that it is in."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            yield from _files(name.split("."))


def _files(parts: list[str]) -> Iterator[Path]:
    if parts[0] != kit.__name__:
        return
    for length in range(1, len(parts) + 1):
        place = _ROOT.joinpath(*parts[1:length])
        yield from (each for each in (place / "__init__.py", place.with_suffix(".py")) if each.is_file())
