"""A corpus of hostile and broken model files: one line of error each, bounded memory, nothing outside is touched."""

import ctypes
import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import forked
from tests.model.hostile_onnx import ONNX_CASES, SECRET, Make
from tests.model.hostile_sources import SOURCE_CASES

CASES: dict[str, tuple[Make, str]] = {**ONNX_CASES, **SOURCE_CASES}
LIMIT_KB = 1_500_000
IN_OPEN, IN_CREATE, IN_MODIFY, IN_DELETE, IN_MOVED = 0x20, 0x100, 0x2, 0x200, 0xC0

ROOT = str(Path(__file__).resolve().parents[2])
ROWS = "x=rowsx4:float32"


class Watch:
    """What the kernel saw of a folder (inotify(7)): which of its files were opened, made, changed or removed."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._fd >= 0
        mask = IN_OPEN | IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED
        assert self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) >= 0

    def seen(self) -> list[str]:
        """Names touched since the last call."""
        names: list[str] = []
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return names
        while data:
            length = struct.unpack_from("iIII", data)[3]
            names.append(data[16 : 16 + length].rstrip(b"\0").decode())
            data = data[16 + length :]
        return [name for name in names if name]

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    watch = Watch(folder)
    try:
        yield watch
    finally:
        watch.close()


def convert(path: Path, folder: Path, *words: str) -> tuple[int, str, str, int]:
    """Exit code, standard output and error of `edgeproof convert`, and the most memory of any of its processes, kB."""
    command = ["convert", str(path), "-o", str(folder / "out.onnx"), "--json", *words]
    done = forked.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": ROOT}, timeout=120)
    return done.returncode, done.stdout, done.stderr, done.memory_kb


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 60


def test_the_watch_sees_a_file_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(SECRET)
    with watched(tmp_path) as watch:
        assert watch.seen() == []
        (tmp_path / "secret.bin").read_bytes()
        assert "secret.bin" in watch.seen()


@pytest.mark.parametrize("name", CASES, ids=list(CASES))
def test_a_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = CASES[name]
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.bin").write_bytes(SECRET)
    path = make(inside, outside)
    existing = sorted(each.name for each in inside.rglob("*"))
    named_outside = path.resolve().is_relative_to(outside)
    with watched(outside) as watch:
        code, out, err, memory_kb = convert(path, inside, *_words(name))
        touched = watch.seen()
    assert code in (2, 6), (code, out, err)
    error = json.loads(out)["error"]
    if error["slug"] == "extra":
        pytest.skip(f"{error['what']}: make converters")
    assert re.search(message, f"{error['where']}: {error['what']}"), error
    assert len(error["what"]) < 2000
    assert error["next_step"]
    assert error["what"].isprintable()
    assert "Traceback" not in err + out
    assert SECRET.decode() not in err + out
    assert named_outside or not touched, touched
    assert sorted(each.name for each in inside.rglob("*")) == existing, "it left something behind"
    assert memory_kb < LIMIT_KB


def _words(name: str) -> tuple[str, ...]:
    """What a user would have to say for this kind of source to be converted."""
    if name.startswith(("torchscript", "state-dict")):
        return ("--input", ROWS)
    return ("--trust-pickle",) if name.startswith("trusted") else ()
