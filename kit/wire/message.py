"""Messages: what a frame's payload says; a small JSON header and binary parts. Nothing is executed or unpickled."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kit.errors import DeviceError, LinkError
from kit.wire.frame import MAX_PAYLOAD_BYTES

PROTOCOLS = (2,)
"""Versions of the requests that this release speaks; host and agent settle on the highest that both do."""

MAX_HEADER_BYTES = 64 << 10
MAX_PARTS = 16
MAX_RANK = 8
_LENGTH = struct.Struct("<I")

_ELEMENTS = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64"
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in _ELEMENTS.split()}
"""Element types that may cross a link, by numpy's name."""

Part = NDArray[np.generic] | bytes
"""A tensor (any array whose dtype is in DTYPES) or an opaque blob."""


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

    def _wrong(self, name: str, expected: str) -> DeviceError:
        return LinkError(self._found(name, expected), where="wire")

    def _found(self, name: str, expected: str) -> str:
        found = ascii(self.fields.get(name)) if name in self.fields else "nothing"
        return f"message {self.kind!r}: {name} must be {expected}, found {found[:80]}"


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
    try:
        header = _ENCODER.encode(fields).encode()
    except ValueError as error:
        raise LinkError(f"message {message.kind!r} cannot be sent: {error}", where="wire") from None
    if len(header) > MAX_HEADER_BYTES:
        raise LinkError(
            f"a message header of {len(header)} bytes is over the limit of {MAX_HEADER_BYTES}", where="wire"
        )
    return b"".join((_LENGTH.pack(len(header)), header, *blobs))


def unpack_message(payload: bytes) -> Message:
    """The message in a frame's payload; its tensors are read-only views. Raises LinkError saying what was expected."""
    if len(payload) < _LENGTH.size:
        raise LinkError(f"a message needs at least {_LENGTH.size} bytes, found {len(payload)}", where="wire")
    (header_bytes,) = _LENGTH.unpack_from(payload)
    start = _LENGTH.size + header_bytes
    if header_bytes > MAX_HEADER_BYTES or start > len(payload):
        raise LinkError(f"a message announces a header of {header_bytes} bytes in {len(payload)}", where="wire")
    kind, fields, described = _header_of(payload[_LENGTH.size : start])
    parts = []
    for description in described:
        part, start = _read_part(description, payload, start)
        parts.append(part)
    if start != len(payload):
        raise LinkError(f"message {kind!r} has {len(payload) - start} bytes beyond its parts", where="wire")
    return Message(kind, fields, tuple(parts))


def _header_of(data: bytes) -> tuple[str, dict[str, object], list[object]]:
    try:
        header = _DECODER.decode(data.decode())
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


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)  # made once: making one takes longer than using it


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
