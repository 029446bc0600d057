"""Blocks of a Joulescope's signals, put together as they come: paired by sample id, multiplied, averaged, counted."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.meter.instrument import Samples
from kit.records import Float64Array, Int64Array

MOST_SAMPLES = 16_000_000
"""What a recording holds after averaging: 13 minutes at 20 kHz. It then ends, and says so."""

_MOST_WAITING = 256


class Blocks:
    """Fed from the driver's thread, block by block; memory grows with what is kept only.

    Groups lie on whole multiples of `group` sample ids, so that all are evenly spaced; one with a sample missing is
    left out. lost: ids that were skipped, by the meter or because the other signal's sample was, or came without a
    value (NaN). Ids that go back end it. rate_hz: before averaging. arrivals: (host's monotonic ns, number of the last
    sample since the first).
    """

    def __init__(self, wanted_hz: float, has_inputs: bool) -> None:
        self._wanted_hz, self._names = wanted_hz, ("i", "v", "g") if has_inputs else ("i", "v")
        self._waiting: dict[str, deque[tuple[int, NDArray[Any]]]] = {name: deque() for name in self._names}
        self._seen = dict.fromkeys(self._names, 0)
        self._next = self._origin = -1
        self._parts: list[tuple[Float64Array, Float64Array, Float64Array, NDArray[np.uint8]]] = []
        self._rest: list[NDArray[Any]] = []
        self._rest_at = self._kept = 0
        self._holes: list[tuple[int, int]] = []
        self._last_group = -1
        self.rate_hz, self.group, self.lost, self.first_group = 0.0, 0, 0, 0
        self.arrivals: list[tuple[int, int]] = []
        self.wrong = self.ended = ""

    def feed(self, name: str, block: Any, arrival_ns: int) -> None:
        """One block of the signal `name` (i, v, gpi/N), as the driver's callback gets it."""
        if self.wrong or self.ended:
            return
        factor, data = int(block["decimate_factor"]), np.asarray(block["data"])
        if not self.group:
            self._choose(block["sample_rate"] / factor)
        key = "g" if name.startswith("gpi") else name
        values = np.unpackbits(data, bitorder="little") if key == "g" else data
        if self.wrong or not len(values):
            return
        at = int(block["sample_id"]) // factor
        if at + len(values) < self._seen[key]:
            self.ended = "the meter began to count its samples anew"
            return
        self._seen[key] = at + len(values)
        waiting = self._waiting[key]
        waiting.append((at, values))
        if len(waiting) > _MOST_WAITING:
            waiting.popleft()  # the other signal does not come: its absence is counted when it does
        while all(self._waiting.values()):
            self._pair(arrival_ns)

    def samples(self) -> Samples:
        """What was kept, with holes in whole groups."""
        if not self._parts:
            return Samples(np.empty(0), np.empty(0))
        current_a, voltage_v, power_w, bits = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return Samples(current_a, voltage_v, bits if "g" in self._names else None, self._holes, power_w)

    def _choose(self, rate_hz: float) -> None:
        self.rate_hz, self.group = rate_hz, max(1, round(rate_hz / self._wanted_hz))
        if abs(rate_hz / self.group - self._wanted_hz) > 1e-6 * self._wanted_hz:
            self.wrong = f"sample_rate of {self._wanted_hz:g} Hz is no whole part of {rate_hz:g} Hz"

    def _pair(self, arrival_ns: int) -> None:
        """Take what all signals have of the same ids; ids that one of them lacks are lost."""
        heads = [self._waiting[name][0] for name in self._names]
        start = max(at for at, _ in heads)
        if self._next >= 0:
            start = max(start, self._next)
        stop = min(at + len(values) for at, values in heads)
        taken = [values[start - at : stop - at] for at, values in heads] if stop > start else []
        for name, (at, values) in zip(self._names, heads, strict=True):
            self._waiting[name].popleft()
            if at + len(values) > max(stop, start):
                cut = max(stop, start, at) - at
                self._waiting[name].appendleft((at + cut, values[cut:]))
        if not taken:
            return
        if self._origin < 0:
            self._origin = start
        elif start > self._next:
            self.lost += start - self._next
        self.lost += int(np.sum(~(np.isfinite(taken[0]) & np.isfinite(taken[1]))))
        self._next = stop
        self.arrivals.append((arrival_ns, stop - 1 - self._origin))
        self._average(start, taken)

    def _average(self, start: int, taken: list[NDArray[Any]]) -> None:
        """Whole groups of these and of what was left before; the rest is kept for the next."""
        if self._rest and self._rest_at + len(self._rest[0]) == start:
            taken = [np.concatenate(pair) for pair in zip(self._rest, taken, strict=True)]
            start = self._rest_at
        skip = -(start - self._origin) % self.group
        count = max(0, (len(taken[0]) - skip) // self.group)
        whole = slice(skip, skip + count * self.group)
        self._rest = [values[min(whole.stop, len(values)) :] for values in taken]
        self._rest_at = start + min(whole.stop, len(taken[0]))
        if not count:
            return
        current, voltage = (values[whole].reshape(count, self.group) for values in taken[:2])
        with np.errstate(invalid="ignore"):
            columns = [np.multiply(current, voltage, dtype=np.float64), current, voltage]
            power_w, current_a, voltage_v = (column.mean(axis=1, dtype=np.float64) for column in columns)
        good = np.isfinite(power_w)
        inputs = taken[2][whole][self.group - 1 :: self.group][good] if len(taken) > 2 else np.empty(0, np.uint8)
        self._note_holes((start + skip - self._origin) // self.group + np.flatnonzero(good))
        self._parts.append((current_a[good], voltage_v[good], power_w[good], inputs))
        self._kept += int(good.sum())
        if self._kept > MOST_SAMPLES:
            self.ended = f"a recording holds {MOST_SAMPLES} samples at most"

    def _note_holes(self, numbers: Int64Array) -> None:
        """Where the numbers of the groups that are kept, int64 [n], do not follow each other."""
        if not len(numbers):
            return
        if self._last_group < 0:
            self.first_group = int(numbers[0])
            self._last_group = self.first_group - 1
        skipped = np.diff(numbers, prepend=self._last_group) - 1
        self._holes += [(self._kept + int(at), int(skipped[at])) for at in np.flatnonzero(skipped)]
        self._last_group = int(numbers[-1])
