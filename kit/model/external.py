"""Tensors whose data lie in files beside the model: taken in where they are inside its folder, refused elsewhere."""

import errno
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

import onnx

from kit.errors import ModelError

_BESIDE = "keep the data file beside the model, or save it as one file: onnx.save(onnx.load(path), 'single.onnx')"


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the main graph whose data lie outside the file."""
    for tensor in chain(model.graph.initializer, _in_attributes(model.graph)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor


def _in_attributes(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for attribute in chain.from_iterable(node.attribute for node in graph.node):
        if attribute.HasField("t"):
            yield attribute.t


def take_in(model: onnx.ModelProto, folder: Path, limit_bytes: int) -> bool:
    """Put the data of external tensors into `model` itself; whether there were any.

    Only regular files below `folder` are opened, reached without a symbolic link, and all tensors together may have
    `limit_bytes` at most.

    Raises:
        ModelError: a location that leads elsewhere, a file that is missing or too short, or too much in all.
    """
    left = limit_bytes
    found = False
    for tensor in external_tensors(model):
        found = True
        data = _read(tensor, folder, left)
        left -= len(data)
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return found


def _read(tensor: onnx.TensorProto, folder: Path, left: int) -> bytes:
    where = f"initializer {tensor.name!r}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    offset, length = (_number(entries, key, where) for key in ("offset", "length"))
    descriptor = _open(location, folder, where)
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = offset or 0
        count = size - start if length is None else length
        if start + count > size or count < 0:
            raise ModelError(
                f"its data are bytes {start} to {start + count} of {location!r}, which has {size}",
                where=where, next_step="the data file is cut, or belongs to another model",
            )  # fmt: skip
        if count > left:
            what = f"its data in {location!r} are {count >> 20} MiB, which makes the model larger than is read"
            raise ModelError(what, where=where, next_step="give a model that fits an edge device")
        stream.seek(start)
        return stream.read(count)


def _number(entries: dict[str, str], key: str, where: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"the {key} of its external data is {text[:40]!r}, no number of bytes", where=where)
    return int(text)


def _open(location: str, folder: Path, where: str) -> int:
    """A descriptor of the file at `location` below `folder`, no part of the way there being a symbolic link."""
    parts = PurePosixPath(location).parts
    if not parts or "\0" in location or "\\" in location or location.startswith("/") or ".." in parts:
        what = f"its data lie outside the model's folder, in {location[:200]!r}"
        raise ModelError(what, where=where, next_step=_BESIDE)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        found = os.open(parts[-1], flags, dir_fd=descriptor)
    except OSError as error:
        links = "; symbolic links are not followed" if error.errno in (errno.ELOOP, errno.ENOTDIR) else ""
        what = f"its data in {location[:200]!r} cannot be read: {error.strerror}{links}"
        raise ModelError(what, where=where, next_step=_BESIDE) from None
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise ModelError(f"its data in {location[:200]!r} are no regular file", where=where, next_step=_BESIDE)
    return found
