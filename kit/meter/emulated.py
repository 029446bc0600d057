"""An emulated sampling ammeter: a process's true CPU time seen through a real meter's faults.

A thread samples the process's CPU clock, converts it with the declared power model, and adds a gain error drawn
once within the accuracy class, white noise, and the range's quantization, so that what follows is exercised as
with a real instrument.
"""

import os
import threading
import time
from pathlib import Path

import numpy as np

from kit.errors import MeasurementError, SpecError
from kit.meter.base import PowerTrace, Watched
from kit.meter.model import PowerModel, read_parameters
from kit.records import Float64Array, Int64Array, MeterAccuracy, MeterRecord
from kit.spec.types import MeterSpec

_OPTIONAL = {"sample_rate_hz": 250.0, "accuracy_share": 0.01, "noise_w": 0.002, "resolution_w": 0.0005, "seed": 0.0}
_MAX_SAMPLES = 2_000_000


class EmulatedMeter:
    """Parameters: idle_power_w, active_power_w; optional sample_rate_hz, accuracy_share, noise_w, resolution_w, seed.

    noise_w is one standard deviation; resolution_w the quantization step; accuracy_share the largest gain error.
    """

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        values = read_parameters(spec, ("idle_power_w", "active_power_w"), _OPTIONAL)
        if not 1 <= values["sample_rate_hz"] <= 1000 or values["accuracy_share"] >= 1:
            raise SpecError(
                "sample_rate_hz or accuracy_share is out of range",
                where="meter emulated",
                next_step="state sample_rate_hz from 1 to 1000 and accuracy_share below 1",
            )
        process_id = watched.process_id  # its clock can be read any time; the agent cannot answer while it computes
        if process_id is None:
            raise MeasurementError(
                "the emulated meter watches a process on this machine, and the agent runs elsewhere",
                where="meter emulated",
                next_step="use the meter driver estimate for this device",
            )
        self._parameters, self._process_id = values, process_id
        self._model = PowerModel(values["idle_power_w"], values["active_power_w"])
        self._random = np.random.default_rng(int(values["seed"]))
        self._gain = 1 + self._random.uniform(-1, 1) * values["accuracy_share"]
        self._thread: threading.Thread | None = None

    def describe(self) -> MeterRecord:
        """See Meter."""
        words = "emulated ammeter: the process's CPU time at declared powers, with gain error, noise and quantization"
        stated = self._parameters["accuracy_share"], 0.0, self._parameters["resolution_w"]
        accuracy = MeterAccuracy(*stated, source="its own parameters: faults are emulated to them")
        return MeterRecord("emulated", "emulated", words, dict(self._parameters), accuracy)

    def start(self) -> None:
        """See Meter."""
        self._halt, self._readings, self._lost = threading.Event(), [self._read()], 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> PowerTrace:
        """See Meter; the first sample's power is NaN, since it has none before it."""
        if self._thread is None:
            raise MeasurementError("the meter was stopped before it was started", where="meter emulated")
        self._join()
        self._readings.append(self._read())
        t_ns, cpu_ns, threads = np.array(self._readings, np.int64).T
        wall_ns = np.maximum(np.diff(t_ns), 1)
        used_ns = placed(np.diff(cpu_ns), wall_ns * np.maximum(threads[1:], threads[:-1]))
        true_w = self._model.idle_power_w + used_ns / wall_ns * self._model.active_power_w
        return PowerTrace(np.ascontiguousarray(t_ns), np.concatenate([[np.nan], self._seen(true_w)]), self._lost)

    def close(self) -> None:
        """See Meter."""
        self._join()

    def _seen(self, true_w: Float64Array) -> Float64Array:
        """What the instrument shows for the true powers."""
        noisy_w = true_w * self._gain + self._random.normal(0, self._parameters["noise_w"], len(true_w))
        step_w = self._parameters["resolution_w"]
        return np.round(noisy_w / step_w) * step_w if step_w else noisy_w

    def _sample(self) -> None:
        """Read on a fixed grid; a grid point that passed while this thread did not run is a lost sample."""
        period_ns = int(1e9 / self._parameters["sample_rate_hz"])
        due_ns = self._readings[0][0] + period_ns
        while not self._halt.wait(max(0, due_ns - time.monotonic_ns()) / 1e9) and len(self._readings) < _MAX_SAMPLES:
            try:
                reading = self._read()
            except MeasurementError:
                return  # stop() reads once more and says it
            self._readings.append(reading)
            late = (reading[0] - due_ns) // period_ns
            self._lost += late
            due_ns += (late + 1) * period_ns

    def _read(self) -> tuple[int, int, int]:
        """Host's clock, the process's CPU clock (clock_getcpuclockid(3): made of its id), and its threads."""
        try:
            cpu_ns = time.clock_gettime_ns((~self._process_id << 3) | 2)
        except OSError:
            raise MeasurementError(
                "the process is gone, or its CPU clock cannot be read",
                where="meter emulated",
                next_step="use the meter driver estimate on this system",
            ) from None
        return time.monotonic_ns(), cpu_ns, _threads(self._process_id)

    def _join(self) -> None:
        if self._thread is not None:
            self._halt.set()
            self._thread.join()
            self._thread = None


def placed(used_ns: Int64Array, room_ns: Int64Array) -> Int64Array:
    """CPU time as read in each interval, int64 [n], moved to when it can have been used: at most `room_ns` in each.

    The kernel adds to another process's CPU clock at its tick (1 to 10 ms) and when that process stops running, so an
    interval may show what earlier ones used. What the first has no room for was used before it, and is dropped.
    """
    found, owed_ns = np.empty_like(used_ns), 0
    for i in range(len(used_ns) - 1, -1, -1):
        owed_ns += int(used_ns[i])
        found[i] = min(owed_ns, int(room_ns[i]))
        owed_ns -= int(found[i])
    return found


def _threads(process_id: int) -> int:
    """How many threads can run at once: those it has (proc(5), stat, num_threads), and no more than processors."""
    processors = os.cpu_count() or 1
    try:
        values = Path(f"/proc/{process_id}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return processors
    return max(1, min(processors, int(values[17])))
