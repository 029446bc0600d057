"""A simulated device and a sampling meter that watches it: true powers, clocks of their own, faults on demand.

Time is real: what is awaited passes, so that measuring runs as it does on hardware, in short windows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kit.device.base import BusyWindow, LatencySamples
from kit.errors import DeviceError, MeasurementError
from kit.meter.base import PowerTrace
from kit.records import MeterAccuracy, MeterRecord

IDLE_W, STEP_W, VOLTAGE_V = 0.1, 0.5, 5.0
INFERENCE_S = 1e-3
STATED = MeterAccuracy(0.01, 0.001, 0.0001, "its manual")


@dataclass
class Device:
    """Its clock is the host's plus `offset_ns`, told to within `clock_error_ns`."""

    offset_ns: int = 0
    clock_error_ns: int = 10_000
    process: int | None = None
    has_pattern: bool = True
    refuses: bool = False
    steps_ns: int = 0
    busy_ns: list[tuple[int, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def identify(self):
        return type("Record", (), {"emulated": ()})

    def process_id(self):
        return self.process

    def clock_offset_ns(self):
        self.asked.append("clock")
        told_ns = self.offset_ns + int(0.9 * self.clock_error_ns) * (-1) ** self.asked.count("clock")
        self.offset_ns += self.steps_ns
        return told_ns, self.clock_error_ns

    def run_busy(self, digest, inputs, *, duration_s):
        self.asked.append("busy")
        return self._busy(duration_s)

    def _busy(self, duration_s):
        start_ns = time.monotonic_ns()
        time.sleep(duration_s)
        end_ns = time.monotonic_ns()
        if duration_s:
            self.busy_ns.append((start_ns, end_ns))
        count = round((end_ns - start_ns) / 1e9 / INFERENCE_S) if duration_s else 0
        return BusyWindow(start_ns + self.offset_ns, end_ns + self.offset_ns, count, 0)

    def run_pattern(self, digest, inputs, *, pattern_s: Sequence[tuple[float, float]]):
        self.asked.append("pattern")
        if not self.has_pattern:
            return None
        windows = []
        for busy_s, idle_s in pattern_s:
            windows.append(self._busy(busy_s))
            time.sleep(idle_s)
        return tuple(windows)

    def time_inferences(self, digest, inputs, *, count, min_s):
        self.asked.append("time")
        if self.refuses:
            raise DeviceError("no")
        self._busy(0.02)
        return LatencySamples(np.array([1]), "c", 1, 1, 1, 1)

    def predict(self, digest, inputs, *, output, exact):
        self.asked.append("predict")
        if self.refuses:
            raise DeviceError("which output?")
        self._busy(0.02)
        return np.zeros((len(inputs), 2), np.float32)


@dataclass
class Meter:
    """Samples the device's true power; its clock is the host's less `late_ns`, which it knows to `clock_error_ns`.

    gaps: (from, to) in s since it was started for good, where it saw nothing. ends_s: when it vanishes. triggered: a
    digital line, bit 3, follows the work. reads_ends: it has no course, only a mean from start to stop.
    """

    device: Device
    rate_hz: float = 2000.0
    late_ns: int = 0
    clock_error_ns: int = 0
    gain: float = 1.0
    gaps: tuple[tuple[float, float], ...] = ()
    ends_s: float | None = None
    triggered: bool = False
    reads_ends: bool = False
    has_current: bool = False
    fails_after: int | None = None
    obtained: str = "measured"
    accuracy: MeterAccuracy | None = STATED
    starts: int = 0

    def describe(self):
        return MeterRecord("simulated", self.obtained, "true power", {"rate_hz": self.rate_hz}, self.accuracy)

    def start(self):
        if self.fails_after is not None and self.starts >= self.fails_after:
            raise MeasurementError("the meter is gone", next_step="plug it in")
        self.starts += 1
        self.start_ns = time.monotonic_ns()

    def stop(self):
        stop_ns = time.monotonic_ns()
        is_long = stop_ns - self.start_ns > 0.25e9  # faults are of the trace that holds the windows
        ended = self.ends_s is not None and is_long
        if ended:
            stop_ns = min(stop_ns, self.start_ns + int(self.ends_s * 1e9))
        step = stop_ns - self.start_ns if self.reads_ends else 1e9 / self.rate_hz
        t = np.rint(np.arange(self.start_ns, stop_ns + 1, step)).astype(np.int64)
        power = np.r_[np.nan, IDLE_W + STEP_W * self._share(t)] * self.gain
        level = np.zeros(len(t), np.int64)
        for start, end in self.device.busy_ns:
            level[(t >= start) & (t < end)] = 0b1000
        keep, gaps = np.ones(len(t), bool), []
        for start_s, end_s in self.gaps if is_long else ():
            inside = (t > self.start_ns + start_s * 1e9) & (t < self.start_ns + end_s * 1e9)
            keep &= ~inside
            after = int(np.flatnonzero(inside)[-1]) + 1
            power[after] = np.nan
            gaps.append((t[int(np.flatnonzero(inside)[0]) - 1] - self.late_ns, t[after] - self.late_ns))
        return PowerTrace(
            t_ns=t[keep] - self.late_ns,
            power_w=power[keep],
            lost_samples=int((~keep).sum()),
            current_a=power[keep] / VOLTAGE_V if self.has_current else None,
            trigger=level[keep] if self.triggered else None,
            gaps_ns=np.array(gaps, np.int64).reshape(-1, 2),
            clock_error_ns=self.clock_error_ns,
            ended="the cable was pulled" if ended else "",
        )

    def close(self):
        pass

    def _share(self, t):
        busy = np.zeros(len(t))
        for start, end in self.device.busy_ns:
            busy += np.clip(t, start, end) - start
        return np.diff(busy) / np.diff(t)
