"""Power estimated from CPU time and a declared power model: it informs and never certifies."""

import time

import numpy as np

from kit.errors import MeasurementError
from kit.meter.base import PowerTrace, Watched
from kit.meter.model import PowerModel, read_parameters
from kit.records import MeterRecord
from kit.spec.types import MeterSpec


class EstimateMeter:
    """Two samples, at start and stop: the mean power between them by the declared model.

    Parameters: idle_power_w, active_power_w (what one busy core adds).
    """

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        self._parameters = read_parameters(spec, ("idle_power_w", "active_power_w"), {})
        if watched.cpu_time_ns is None:
            raise MeasurementError("there is no processor time to estimate power from", where="meter estimate")
        self._model = PowerModel(**self._parameters)
        self._cpu_time_ns = watched.cpu_time_ns
        self._start: tuple[int, int] | None = None

    def describe(self) -> MeterRecord:
        """See Meter."""
        words = "no meter: idle power plus CPU time of the work at the declared power of a busy core"
        return MeterRecord("estimate", "estimated", words, dict(self._parameters))

    def start(self) -> None:
        """See Meter."""
        self._start = (time.monotonic_ns(), self._cpu_time_ns())

    def stop(self) -> PowerTrace:
        """See Meter; the first sample's power is NaN, since it has none before it."""
        if self._start is None:
            raise MeasurementError("the meter was stopped before it was started", where="meter estimate")
        (start_ns, start_cpu_ns), self._start = self._start, None
        cpu_ns, end_ns = self._cpu_time_ns(), time.monotonic_ns()
        power_w = self._model.power_w(max(0, cpu_ns - start_cpu_ns), max(1, end_ns - start_ns))
        return PowerTrace(np.array([start_ns, end_ns], np.int64), np.array([np.nan, power_w]), lost_samples=0)

    def close(self) -> None:
        """See Meter."""
        self._start = None
