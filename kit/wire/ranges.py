"""Sorted, disjoint ranges of byte positions: what has arrived, or must be sent again."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Half-open ranges [start, end) of positions; ranges that touch are one."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def add(self, start: int, end: int) -> None:
        """Include [start, end)."""
        if start >= end:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Exclude [start, end)."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= last or start >= end:
            return
        kept = [(self._starts[first], start), (end, self._ends[last - 1])]
        kept = [(low, high) for low, high in kept if low < high]
        self._starts[first:last] = [low for low, _ in kept]
        self._ends[first:last] = [high for _, high in kept]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not included, in order."""
        gaps = []
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if self._starts[index] > start:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
        return [*gaps, (start, end)] if start < end else gaps

    def pop_first(self, size: int) -> tuple[int, int]:
        """Remove and return the first range, or its first `size` positions. Raises IndexError if there is none."""
        start, end = self._starts[0], min(self._ends[0], self._starts[0] + size)
        self.remove(start, end)
        return start, end

    def first(self) -> tuple[int, int]:
        """The first range. Raises IndexError if there is none."""
        return self._starts[0], self._ends[0]

    def last(self, count: int) -> list[tuple[int, int]]:
        """The last `count` ranges, or as many as there are."""
        return list(zip(self._starts[-count:], self._ends[-count:], strict=True))
