"""Frames, checksums and messages between host and agent: pure bytes in, bytes out. The protocol is in docs/wire.md.

A frame is a 24-byte header and a payload; a message is a small JSON header and binary parts (tensors or blobs).
What arrives is hostile: sizes are bounded, checksums are verified, and nothing is executed or unpickled.
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kit.errors import LinkError

PROTOCOL_VERSION = 1
MAGIC = b"EDGP"
MAX_PAYLOAD_BYTES = 16 << 20
MAX_HEADER_BYTES = 64 << 10
MAX_PARTS = 16
MAX_RANK = 8
UNKNOWN_SEQUENCE = 0xFFFFFFFF

_FIELDS = struct.Struct("<4sBBHIII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size

_ELEMENTS = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64"
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in _ELEMENTS.split()}
"""Element types that may cross a link, by numpy's name."""

Part = NDArray[np.generic] | bytes
"""A tensor (any array whose dtype is in DTYPES) or an opaque blob."""


class FrameType(IntEnum):
    """What a frame is: the host sends REQUEST; the agent answers PROGRESS any number of times, then REPLY or ERROR."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    PROGRESS = 4


class FrameError(LinkError):
    """A frame is damaged or refused; `sequence` is its number where the header could still be trusted."""

    def __init__(self, what: str, *, sequence: int | None = None, next_step: str = "") -> None:
        super().__init__(what, where="wire", next_step=next_step)
        self.sequence = sequence


@dataclass(frozen=True, slots=True)
class Frame:
    """One verified frame: `sequence` is uint32 and ties answers to their request."""

    type: FrameType
    sequence: int
    payload: bytes


def encode_frame(frame: Frame) -> bytes:
    """The frame's bytes. Raises FrameError if the payload is over MAX_PAYLOAD_BYTES."""
    size_bytes = len(frame.payload)
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise FrameError(
            f"a frame of {size_bytes} payload bytes is over the limit of {MAX_PAYLOAD_BYTES}",
            sequence=frame.sequence,
            next_step="send it in smaller pieces",
        )
    crc = zlib.crc32(frame.payload)
    fields = _FIELDS.pack(MAGIC, PROTOCOL_VERSION, frame.type, 0, frame.sequence, size_bytes, crc)
    return b"".join((fields, _CRC.pack(zlib.crc32(fields)), frame.payload))


class Decoder:
    """Bytes in, verified frames out; after damage it goes on at the next frame that checks out.

    It holds at most one frame and what was fed beyond it, so feed it in bounded pieces.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what arrived."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next frame, or None until more bytes arrive. Raises FrameError once per damage, then goes on."""
        self._seek_magic()
        if len(self._buffer) < HEADER_BYTES:
            return None
        version, kind, sequence, size_bytes, payload_crc = self._header()
        if len(self._buffer) < HEADER_BYTES + size_bytes:
            return None
        payload = bytes(memoryview(self._buffer)[HEADER_BYTES : HEADER_BYTES + size_bytes])
        del self._buffer[: HEADER_BYTES + size_bytes]
        if zlib.crc32(payload) != payload_crc:
            raise FrameError(
                f"a frame's payload has CRC-32 {zlib.crc32(payload):08x} where its header says {payload_crc:08x}",
                sequence=sequence,
            )
        if version != PROTOCOL_VERSION:
            raise FrameError(
                f"a frame has protocol version {version}; this side speaks version {PROTOCOL_VERSION}",
                sequence=sequence,
                next_step="use the same edgeproof release on the host and on the device",
            )
        return Frame(_frame_type(kind, sequence), sequence, payload)

    def end(self) -> None:
        """The stream has ended: raises FrameError if that was inside a frame."""
        if self._buffer:
            raise FrameError(f"the stream ended inside a frame, after {len(self._buffer)} of its bytes")

    def _header(self) -> tuple[int, int, int, int, int]:
        """Version, type, sequence, payload size and payload CRC; a header that is not to be trusted is skipped."""
        _, version, kind, _, sequence, size_bytes, payload_crc = _FIELDS.unpack_from(self._buffer)
        (header_crc,) = _CRC.unpack_from(self._buffer, _FIELDS.size)
        computed = zlib.crc32(memoryview(self._buffer)[: _FIELDS.size])
        if computed != header_crc:
            self._skip_magic()
            raise FrameError(f"a frame's header has CRC-32 {computed:08x} where it says {header_crc:08x}")
        if size_bytes > MAX_PAYLOAD_BYTES:
            self._skip_magic()
            raise FrameError(
                f"a frame announces {size_bytes} payload bytes, over the limit of {MAX_PAYLOAD_BYTES}",
                sequence=sequence,
                next_step="send it in smaller pieces",
            )
        return version, kind, sequence, size_bytes, payload_crc

    def _seek_magic(self) -> None:
        """Drop what precedes the next magic, and say so; a magic that may still be arriving is kept."""
        buffer = self._buffer
        if buffer.startswith(MAGIC) or MAGIC.startswith(buffer):
            return
        start = buffer.find(MAGIC)
        if start < 0:
            start = len(buffer) - next(n for n in range(len(MAGIC) - 1, -1, -1) if buffer.endswith(MAGIC[:n]))
        head = bytes(buffer[: min(start, 8)])
        del buffer[:start]
        raise FrameError(f"{start} bytes that are no frame (they start {head!r}); a frame starts with {MAGIC!r}")

    def _skip_magic(self) -> None:
        del self._buffer[: len(MAGIC)]


def _frame_type(kind: int, sequence: int) -> FrameType:
    try:
        return FrameType(kind)
    except ValueError:
        known = ", ".join(f"{each.value} {each.name}" for each in FrameType)
        raise FrameError(f"a frame has type {kind}; known types are {known}", sequence=sequence) from None


@dataclass(frozen=True, slots=True)
class Message:
    """What a frame carries: `kind` names the request, `fields` are small JSON values, `parts` are binary.

    The typed getters raise LinkError, naming kind and field, when the other side sent something else.
    """

    kind: str
    fields: Mapping[str, object] = field(default_factory=dict)
    parts: Sequence[Part] = ()

    def text(self, name: str, *, limit: int = 4096) -> str:
        """A string field of at most `limit` characters."""
        value = self.fields.get(name)
        if isinstance(value, str) and len(value) <= limit:
            return value
        raise self._wrong(name, f"a text of at most {limit} characters")

    def integer(self, name: str, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
        """An integer field within [minimum, maximum]."""
        value = self.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        raise self._wrong(name, f"a whole number from {minimum} to {maximum}")

    def number(self, name: str, minimum: float = 0.0, maximum: float = 1e308) -> float:
        """A finite numeric field within [minimum, maximum]."""
        value = self.fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= maximum:
            return float(value)
        raise self._wrong(name, f"a number from {minimum:g} to {maximum:g}")

    def flag(self, name: str) -> bool:
        """A boolean field."""
        value = self.fields.get(name)
        if isinstance(value, bool):
            return value
        raise self._wrong(name, "true or false")

    def texts(self, name: str, *, limit: int = 64) -> tuple[str, ...]:
        """A list field of at most `limit` short strings."""
        value = self.fields.get(name)
        if isinstance(value, list) and len(value) <= limit and all(isinstance(v, str) and len(v) < 256 for v in value):
            return tuple(value)
        raise self._wrong(name, f"a list of at most {limit} texts")

    def tensor(self, index: int = 0) -> NDArray[np.generic]:
        """The part at `index`, which must be a tensor."""
        part = self.parts[index] if index < len(self.parts) else None
        if isinstance(part, np.ndarray):
            return part
        raise self._wrong(f"part {index}", "a tensor")

    def blob(self, index: int = 0) -> bytes:
        """The part at `index`, which must be opaque bytes."""
        part = self.parts[index] if index < len(self.parts) else None
        if isinstance(part, bytes):
            return part
        raise self._wrong(f"part {index}", "a blob of bytes")

    def absent(self, name: str) -> bool:
        """Whether a field is missing or null."""
        return self.fields.get(name) is None

    def _wrong(self, name: str, expected: str) -> LinkError:
        found = repr(self.fields.get(name)) if name in self.fields else "nothing"
        return LinkError(f"message {self.kind!r}: {name} must be {expected}, found {found[:80]}", where="wire")


def pack_message(message: Message) -> bytes:
    """A message as a frame's payload. Raises LinkError for a dtype outside DTYPES or a header that is too long."""
    described: list[dict[str, object]] = []
    blobs: list[bytes] = []
    for part in message.parts:
        if isinstance(part, bytes):
            described.append({"bytes": len(part)})
            blobs.append(part)
        else:
            described.append({"dtype": _dtype_name(part), "shape": list(part.shape)})
            blobs.append(part.astype(DTYPES[part.dtype.name], copy=False).tobytes())
    fields = {"kind": message.kind, "fields": dict(message.fields), "parts": described}
    header = json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
    if len(header) > MAX_HEADER_BYTES:
        raise LinkError(
            f"a message header of {len(header)} bytes is over the limit of {MAX_HEADER_BYTES}", where="wire"
        )
    return b"".join((_CRC.pack(len(header)), header, *blobs))


def unpack_message(payload: bytes) -> Message:
    """The message in a frame's payload; its tensors are read-only views. Raises LinkError saying what was expected."""
    if len(payload) < _CRC.size:
        raise LinkError(f"a message needs at least {_CRC.size} bytes, found {len(payload)}", where="wire")
    (header_bytes,) = _CRC.unpack_from(payload)
    start = _CRC.size + header_bytes
    if header_bytes > MAX_HEADER_BYTES or start > len(payload):
        raise LinkError(f"a message announces a header of {header_bytes} bytes in {len(payload)}", where="wire")
    kind, fields, described = _header_of(payload[_CRC.size : start])
    parts = []
    for description in described:
        part, start = _read_part(description, payload, start)
        parts.append(part)
    if start != len(payload):
        raise LinkError(f"message {kind!r} has {len(payload) - start} bytes beyond its parts", where="wire")
    return Message(kind, fields, tuple(parts))


def _header_of(data: bytes) -> tuple[str, dict[str, object], list[object]]:
    try:
        header = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LinkError(f"a message header is no JSON: {error}", where="wire") from None
    if not isinstance(header, dict):
        raise LinkError("a message header must be a JSON object", where="wire")
    kind, fields, described = header.get("kind"), header.get("fields"), header.get("parts")
    if not (isinstance(kind, str) and len(kind) <= 32 and isinstance(fields, dict) and isinstance(described, list)):
        raise LinkError("a message header must have kind (text), fields (object) and parts (list)", where="wire")
    if len(described) > MAX_PARTS:
        raise LinkError(f"message {kind!r} has {len(described)} parts, over the limit of {MAX_PARTS}", where="wire")
    return kind, fields, described


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _read_part(description: object, payload: bytes, start: int) -> tuple[Part, int]:
    """The part that starts at `start`, and where it ends."""
    dtype, shape = _described(description)
    count = math.prod(shape)
    end = start + count * (dtype.itemsize if dtype else 1)
    if end > len(payload):
        raise LinkError(
            f"a part described as {json.dumps(description)} needs {end - start} bytes, found {len(payload) - start}",
            where="wire",
        )
    if dtype is None:
        return payload[start:end], end
    try:
        return np.frombuffer(payload, dtype, count, start).reshape(shape), end
    except ValueError as error:
        raise LinkError(f"a tensor of shape {list(shape)} is refused: {error}", where="wire") from None


def _described(description: object) -> tuple[np.dtype[np.generic] | None, tuple[int, ...]]:
    """Dtype and shape of a tensor, or None and (size,) of a blob."""
    if isinstance(description, dict):
        if set(description) == {"bytes"} and _is_size(description["bytes"]):
            return None, (description["bytes"],)
        shape, name = description.get("shape"), description.get("dtype")
        if set(description) == {"dtype", "shape"} and isinstance(name, str) and name in DTYPES and _is_shape(shape):
            return DTYPES[name], tuple(cast(list[int], shape))
    raise LinkError(
        f"a part is described as {str(description)[:80]}; expected bytes, or dtype (one of {', '.join(DTYPES)}) "
        f"and shape (at most {MAX_RANK} sizes)",
        where="wire",
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PAYLOAD_BYTES


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_RANK and all(_is_size(size) for size in value)


def _dtype_name(array: NDArray[np.generic]) -> str:
    if array.dtype.name not in DTYPES:
        raise LinkError(
            f"a tensor of dtype {array.dtype} cannot cross a link; allowed are {', '.join(DTYPES)}",
            where="wire",
            next_step="convert the inputs to one of these",
        )
    return array.dtype.name
