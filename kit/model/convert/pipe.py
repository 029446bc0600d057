"""Messages between this process and a converter's: a line of JSON, then the bytes of arrays. Nothing is unpickled."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from kit.errors import ConversionError
from kit.model.convert.base import Arrays

MAX_HEADER_BYTES = 1 << 20
MAX_BODY_BYTES = 2 << 30
"""The most that one message may hold: what comes from a converter's process is as untrusted as the model in it."""

_KINDS = "biuf"


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a reply: plain values, arrays by name, and bytes (an ONNX model)."""

    values: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)


class BrokenMessageError(ValueError):
    """The stream ended within a message, or holds something else."""


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message; ConversionError for an array of anything but numbers and truth values."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS or not array.dtype.isnative:
            raise ConversionError(
                f"{name!r} is of the type {array.dtype}, which cannot be compared",
                next_step="export the model with numbers as inputs and outputs",
            )
    described = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = {"values": message.values, "arrays": described, "size": len(message.data)}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.write(message.data)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """The next message; None at the end of the stream.

    Raises:
        BrokenMessageError: a message that is cut, malformed or too large; nothing of its size was allocated.
    """
    line = stream.readline(MAX_HEADER_BYTES)
    if not line:
        return None
    try:
        header = json.loads(line)
        values, described, size = header["values"], header["arrays"], header["size"]
        layouts = [(str(name), _dtype(dtype), tuple(map(int, shape))) for name, dtype, shape in described]
        sizes = [math.prod(shape) * dtype.itemsize for _, dtype, shape in layouts]
        if (
            not isinstance(values, dict)
            or not isinstance(size, int)
            or min((size, 0, *(each for _, _, shape in layouts for each in shape))) < 0
        ):
            raise ValueError("no message")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise BrokenMessageError(f"malformed: {error}") from None
    if sum(sizes) + size > MAX_BODY_BYTES:
        raise BrokenMessageError(f"{sum(sizes) + size} bytes, and at most {MAX_BODY_BYTES} are taken")
    bodies = [_exactly(stream, each) for each in sizes]
    arrays = dict(_arrays(layouts, bodies))
    return Message(values, arrays, _exactly(stream, size))


def _arrays(layouts: list[tuple[str, np.dtype[Any], tuple[int, ...]]], bodies: list[bytes]) -> Iterator[Any]:
    for (name, dtype, shape), body in zip(layouts, bodies, strict=True):
        yield name, np.frombuffer(body, dtype).reshape(shape)


def _dtype(text: str) -> np.dtype[Any]:
    dtype = np.dtype(str(text))
    if dtype.kind not in _KINDS:
        raise ValueError(f"type {text!r}")
    return dtype


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise BrokenMessageError("cut")
    return data
