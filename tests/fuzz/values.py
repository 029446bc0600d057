"""Values drawn from a fuzzer's bytes: the same bytes give the same values, and no bytes give zeros."""

from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")


class Source:
    """Consumes bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def left(self) -> int:
        """Bytes not yet used."""
        return max(0, len(self._data) - self._at)

    def take(self, count: int) -> bytes:
        """At most `count` bytes."""
        piece = self._data[self._at : self._at + count]
        self._at += max(count, 1)
        return piece

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        width = (max(1, limit - 1).bit_length() + 7) // 8
        return int.from_bytes(self.take(width), "little") % limit

    def flag(self) -> bool:
        """True or false."""
        return bool(self.below(2))

    def choice(self, values: Sequence[Value]) -> Value:
        """One of them."""
        return values[self.below(len(values))]

    def damaged(self, data: bytes) -> bytes:
        """`data` with a byte altered, lost, doubled, or noise in its midst."""
        if not data:
            return data
        at, how = self.below(len(data)), self.below(4)
        middle = (bytes([data[at] ^ (1 + self.below(255))]), b"", data[at : at + 1] * 2, self.take(8))[how]
        return data[:at] + middle + data[at + 1 :]
