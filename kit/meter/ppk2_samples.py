"""What a PPK2 sends, decoded: its calibration, and its samples of 4 bytes with range, counter and digital inputs.

Sources: the commands and formulas of Nordic's Power Profiler app (pc-nrfconnect-ppk), as its users describe them.
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.records import Float64Array

RATE_HZ, RANGES, COUNTS = 100_000.0, 5, 64
"""Samples a second; measuring ranges; the counter's modulus."""

_STEP = 1.8 / 163_840  # V at the amplifier's output, a count
_ALPHA, _ALPHA_TOP, _TOP, _SETTLE, _FROZEN = 0.18, 0.06, 4, 3, 2
_MEMORY = 1024  # samples after which an average has forgotten what came before: 0.94**1024 is below rounding
_SYNC, _LOST_SYNC, _HELD = 16, 8, 16
_CODES, _MOST_A = 1 << 17, 1e3
_SENT = ("R", "GS", "GI", "O", "S", "I", "UG")
EVERY_VALUE = len(_SENT) * RANGES
"""How many values a calibration has."""

_LINE = re.compile(rb"^([A-Za-z]+)([0-4]?): *(\S+) *\r?$", re.MULTILINE)


@dataclass
class Calibration:
    """Each of five ranges: shunt R in ohm, offset O in counts, gains and offsets; `absent` names what was not sent."""

    R: list[float] = field(default_factory=lambda: [1031.64, 101.65, 10.15, 0.94, 0.043])
    GS: list[float] = field(default_factory=lambda: [1.0] * RANGES)
    GI: list[float] = field(default_factory=lambda: [1.0] * RANGES)
    O: list[float] = field(default_factory=lambda: [0.0] * RANGES)  # noqa: E741
    S: list[float] = field(default_factory=lambda: [0.0] * RANGES)
    I: list[float] = field(default_factory=lambda: [0.0] * RANGES)  # noqa: E741
    UG: list[float] = field(default_factory=lambda: [1.0] * RANGES)
    absent: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    def table(self, voltage_v: float) -> Float64Array:
        """Current in A for each of the low 17 bits of a sample, ADC and range: float64 [131072].

        Raises MeasurementError for a calibration by which some current would be a thousand times what it can measure.
        """
        code = np.arange(_CODES)
        which, adc = np.minimum(code >> 14, RANGES - 1), (code & 0x3FFF) * 4.0
        r, gs, gi, o, s, i, ug = (np.array(getattr(self, name))[which] for name in _SENT)
        with np.errstate(all="ignore"):
            x = (adc - o) * (_STEP / r)
            table: Float64Array = ug * (x * (gs * x + gi) + s * voltage_v + i)
        if not np.abs(table).max() < _MOST_A:
            raise MeasurementError("its calibration makes no sense", where="meter ppk2", next_step="have it repaired")
        return table

    def resolution_a(self, which: int) -> float:
        """One step of the ADC in that range, in A."""
        return 4 * _STEP / self.R[which] * self.GI[which] * self.UG[which]


def parse_calibration(answer: bytes) -> Calibration:
    """From `Key: value` lines; what is absent, `-nan` or a resistance of 0 keeps the value that the maker's app has."""
    found = Calibration()
    absent = {f"{name}{index}" for name in _SENT for index in range(RANGES)}
    for name, index, value in (
        (a.decode(), b.decode(), c.decode("ascii", "replace")) for a, b, c in _LINE.findall(answer)
    ):
        if not index or name not in _SENT:
            found.facts[name + index] = value
            continue
        number = _number(value)
        if number is not None and not (name == "R" and number <= 0):
            getattr(found, name)[int(index)] = number
            absent.discard(name + index)
    found.absent = tuple(sorted(absent))
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """current_a: float64 [n]; bits: uint8 [n], inputs D0 to D7; losses: (sample, lost before it), by the counter.

    pieces: (byte, sample): where an unbroken run of samples begins. top: the largest range that was used, -1 if none.
    """

    current_a: Float64Array
    bits: NDArray[np.uint8]
    losses: list[tuple[int, int]]
    pieces: list[tuple[int, int]]
    top: int


class Decoder:
    """Bytes to samples, block by block: what is split over blocks, and what the filter remembers, is carried along.

    Samples are found where the counter counts 16 times in a row, and looked for again where it never does: garbage
    before the first sample, and bytes lost on the way, cost no more than what they hit.
    """

    def __init__(self, calibration: Calibration, voltage_v: float) -> None:
        self._table, self._filter = calibration.table(voltage_v), SpikeFilter()
        self._rest, self._byte, self._count = b"", 0, 0
        self._synced, self._counter, self._top = False, -1, -1

    def feed(self, data: bytes | bytearray | memoryview, *, last: bool = False) -> Decoded:
        """Everything in `data` that can be told; a few samples are kept back until what follows them is here."""
        block = self._rest + bytes(data)
        currents, bits, losses, pieces = [], [], list[tuple[int, int]](), list[tuple[int, int]]()
        at = 0
        while True:
            if not self._synced:
                if (start := _find(block, at)) is None:
                    at = max(at, len(block) - 4 * _SYNC - 3)
                    break
                at, self._synced = start, True
                pieces.append((self._byte + at, self._count))
            raw = np.frombuffer(block, "<u4", (len(block) - at) // 4, at)
            steps = self._steps(raw)
            end = _end_of_run(steps)
            broken = end < len(raw)
            if not broken and not last:
                end = max(0, len(raw) - _HELD)
            raw, steps = raw[:end], steps[:end]
            losses += [(self._count + int(k), int(steps[k])) for k in np.flatnonzero(steps)]
            currents.append(self._filtered(raw))
            bits.append((raw >> 24).astype(np.uint8))
            if end:
                self._counter = int(raw[-1] >> 18 & 63)
            self._count, at = self._count + end, at + 4 * end
            if not broken:
                break
            self._synced = False
        self._rest, self._byte = block[at:], self._byte + at
        return Decoded(_joined(currents, np.float64), _joined(bits, np.uint8), losses, pieces, self._top)

    def _steps(self, raw: NDArray[np.uint32]) -> NDArray[np.int64]:
        """How many counts are missing before each sample."""
        counter = (raw >> 18 & 63).astype(np.int64)
        before = self._counter if self._counter >= 0 else (int(counter[0]) - 1) % COUNTS if len(counter) else 0
        return np.diff(counter, prepend=before) - 1 & 63

    def _filtered(self, raw: NDArray[np.uint32]) -> Float64Array:
        which = np.minimum(raw >> 14 & 7, RANGES - 1).astype(np.int8)
        if len(which):
            self._top = max(self._top, int(which.max()))
        return self._filter.feed(self._table[raw & (_CODES - 1)], which)


class SpikeFilter:
    """After a change of range, three samples are replaced by an exponential average of all so far.

    alpha is 0.18, and 0.06 for samples in range 4, where the first two of the three leave both averages as they were.
    """

    def __init__(self) -> None:
        self._average = self._average_top = math.nan
        self._range, self._since = -1, _SETTLE

    def feed(self, current_a: Float64Array, which: NDArray[np.int8]) -> Float64Array:
        """Filtered, float64 [n]: what a loop over the samples gives, to rounding."""
        count = len(current_a)
        if not count:
            return current_a
        changed = np.diff(which, prepend=self._range if self._range >= 0 else which[0]) != 0
        place = np.arange(count)
        last = np.maximum.accumulate(np.where(changed, place, -1))
        since = np.where(last >= 0, place - last, place + self._since + 1)
        settling, top = since < _SETTLE, which == _TOP
        self._range, self._since = int(which[-1]), min(int(since[-1]), _SETTLE)
        if not settling.any():
            self._average = _average(current_a[-_MEMORY:], _ALPHA, self._average)[-1]
            self._average_top = _average(current_a[-_MEMORY:], _ALPHA_TOP, self._average_top)[-1]
            return current_a
        moving = ~(settling & top & (since < _FROZEN))
        upto = np.cumsum(moving)
        average = _average(current_a[moving], _ALPHA, self._average)
        average_top = _average(current_a[moving], _ALPHA_TOP, self._average_top)
        self._average, self._average_top = average[-1], average_top[-1]
        result, hit = current_a.copy(), np.flatnonzero(settling)
        result[hit] = np.where(top[hit], average_top[upto[hit]], average[upto[hit]])
        return result


def _average(x: Float64Array, alpha: float, before: float) -> Float64Array:
    """[before, then y_k = alpha x_k + (1 - alpha) y_(k-1)]: by doubling, until what is left out is below rounding."""
    first = before if not math.isnan(before) else (x[0] if len(x) else math.nan)
    y = np.empty(len(x) + 1)
    y[0] = first
    np.multiply(x, alpha, out=y[1:])
    reach, decay = 1, 1 - alpha
    while reach < len(y) and decay > 1e-18:
        y[reach:] += decay * y[:-reach]
        reach, decay = 2 * reach, decay * decay
    return y


def _find(block: bytes, at: int) -> int | None:
    """Where 17 samples begin whose counter counts, at `at` or after it."""
    best: int | None = None
    for phase in range(4):
        counter = np.frombuffer(block, np.uint8)[at + phase + 2 :: 4] >> 2
        counts = (np.diff(counter) & 63) == 1
        if len(counts) < _SYNC:
            continue
        runs = np.convolve(counts, np.ones(_SYNC, np.int64), "valid") == _SYNC
        if runs.any():
            here = at + phase + 4 * int(np.argmax(runs))
            best = here if best is None else min(best, here)
    return best


def _end_of_run(steps: NDArray[np.int64]) -> int:
    """The first sample from which the counter never counts, eight times in a row; all of them if there is none."""
    if len(steps) < _LOST_SYNC:
        return len(steps)
    wrong = np.cumsum(np.append(0, steps != 0))
    broken = np.flatnonzero(wrong[_LOST_SYNC:] - wrong[:-_LOST_SYNC] == _LOST_SYNC)
    return int(broken[0]) if len(broken) else len(steps)


def _joined(parts: list, dtype: type) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate(parts) if parts else np.empty(0, dtype)
