"""Records to JSON and back: arrays go out as `.npy` objects by digest, everything else stays readable."""

import io
import math
import tokenize
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kit.errors import StoreError

T = TypeVar("T")
PutObject = Callable[[bytes], str]
GetObject = Callable[[str], bytes]

DTYPES = ("int64", "float64", "float32")
"""Dtypes of the arrays in records."""

_MAX_HEADER = 1000
_MALFORMED = (
    msgspec.MsgspecError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)
"""What JSON, msgspec and NumPy's header reader raise on bytes that nobody vouches for."""


def array_to_bytes(array: NDArray[Any]) -> bytes:
    """An array in NumPy's `.npy` format (version 1), without pickles."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(array, order="C"), allow_pickle=False)
    return stream.getvalue()


def array_from_bytes(data: bytes) -> NDArray[Any]:
    """The array of `.npy` bytes; nothing is allocated before the header is held against the bytes that are there.

    Raises:
        ValueError: no such bytes, another dtype than a record's, or another size than the header states.
    """
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not .npy format version 1")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
    body = memoryview(data)[stream.tell() :]
    if fortran or str(dtype) not in DTYPES or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{len(body)} bytes are no {dtype} array of shape {shape}")
    return np.frombuffer(body, dtype).reshape(shape)


def encode(record: object, put: PutObject) -> bytes:
    """Canonical JSON of a record (sorted keys); each array is put by `put` and named by its digest.

    Text that is not UTF-8, as a file's name may be, is stored with its odd bytes escaped.
    """

    def hook(value: object) -> object:
        if isinstance(value, np.ndarray):
            digest = put(array_to_bytes(value))
            return {"$array": digest, "dtype": str(value.dtype), "shape": list(value.shape)}
        raise TypeError(f"{type(value).__name__} is no part of a record")

    try:
        return msgspec.json.encode(record, enc_hook=hook, order="deterministic")
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(msgspec.to_builtins(record, enc_hook=hook)), order="deterministic")


def _escaped(value: Any) -> Any:
    """The same with the lone surrogates of its text, which stand for bytes that are not UTF-8 (PEP 383), escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, (list, tuple)) else value


def decode(data: bytes, kind: type[T], get: GetObject) -> T:
    """The record of type `kind` in JSON `data`; raises StoreError if it is not one."""

    def hook(_: type, value: Any) -> NDArray[Any]:
        array = array_from_bytes(get(value["$array"]))
        if [str(array.dtype), list(array.shape)] != [value["dtype"], value["shape"]]:
            raise ValueError(f"array {value['$array']} is not of the stated dtype and shape")
        return array

    try:
        return msgspec.convert(msgspec.json.decode(data), kind, dec_hook=hook)
    except _MALFORMED as error:
        raise StoreError(
            f"a stored {kind.__name__} cannot be read: {error}",
            next_step="the run folder is damaged or of another version; run the command again without --resume",
        ) from error
