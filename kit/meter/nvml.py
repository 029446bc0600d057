"""NVIDIA's graphics processors on this machine, by their driver's library (NVML; extra `nvml`).

The energy counter (mJ, nvmlDeviceGetTotalEnergyConsumption, from Volta on) is updated every 20 to 100 ms: a trace has
one sample an update, and fewer than four are refused. Older ones tell power in mW. NVIDIA states no accuracy of either
for today's processors. It counts the whole board, whoever uses it.
"""

import importlib
from collections.abc import Callable
from typing import Any

from kit.errors import MeasurementError, MissingExtraError
from kit.files import FileSamples, Row, Sampler
from kit.meter.base import PowerTrace, Watched
from kit.meter.counters import CounterKind, trace_of_counters
from kit.meter.polling import PollingMeter, Source, nothing_found, rate_hz
from kit.meter.readings import trace_of_readings
from kit.meter.series import numbers
from kit.spec.types import MeterSpec

_RATE_HZ = 200.0  # an update is placed as well as it was seen
_UPDATE_S, _LEAST_UPDATES, _HIGHEST_W = 0.2, 4, 1e4


class NvmlMeter(PollingMeter):
    """parameters: index, sample_rate_hz. `library` is the module pynvml, or one like it."""

    def __init__(self, spec: MeterSpec, watched: Watched, library: Any = None) -> None:  # noqa: ARG002  it needs no files
        self._library = load() if library is None else library
        self._is_open = False
        nvml, index = self._library, int(spec.parameters.get("index", 0))
        try:
            nvml.nvmlInit()
            self._is_open = True
            count = nvml.nvmlDeviceGetCount()
            if index >= count:
                raise nothing_found(spec, f"there is no processor {index}", f"index is from 0 to {count - 1}")
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = _text(nvml.nvmlDeviceGetName(handle))
            read, trace_of, how = _way(nvml, handle)
        except nvml.NVMLError as error:
            self.close()
            raise nothing_found(spec, f"NVML: {error}", "check the driver with nvidia-smi") from None
        except MeasurementError:
            self.close()
            raise
        rate = rate_hz(spec, _RATE_HZ)
        source = Source(
            description=f"{name}, {how}",
            begin=lambda: Sampler(read, 1 / rate, what=name),
            trace_of=trace_of,
            parameters={"index": float(index), "sample_rate_hz": rate},
            settle_s=_UPDATE_S,
        )
        super().__init__(spec, source)

    def close(self) -> None:
        """See Meter."""
        if hasattr(self, "_sampling"):
            super().close()
        if self._is_open:
            self._is_open = False
            self._library.nvmlShutdown()


def load() -> Any:
    """The module pynvml. Raises MissingExtraError."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        step = 'pip install "edgeproof[nvml]"'
        raise MissingExtraError("the meter nvml needs nvidia-ml-py", where="meter nvml", next_step=step) from None


def energy_trace(samples: FileSamples) -> PowerTrace:
    """From a counter in mJ. Raises MeasurementError where it was updated fewer than four times."""
    kind = CounterKind((float("inf"),), _HIGHEST_W, _UPDATE_S, _LEAST_UPDATES)
    return trace_of_counters(samples, numbers(samples, 0, 1e-3)[:, None], kind)


def power_trace(samples: FileSamples) -> PowerTrace:
    """From readings in mW, which newer processors average over 1 s (NVML, nvmlDeviceGetPowerUsage).

    Raises MeasurementError where there are not two.
    """
    return trace_of_readings(samples, numbers(samples, 0, 1e-3), age_ns=1_000_000_000)


def _way(nvml: Any, handle: Any) -> tuple[Callable[[], Row], Callable[[FileSamples], PowerTrace], str]:
    """What to read of a processor, and how it becomes a trace."""

    def reader(ask: Callable[[Any], int]) -> Callable[[], Row]:
        def read() -> Row:
            try:
                return (str(int(ask(handle))),)
            except nvml.NVMLError:
                return (None,)

        return read

    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        nvml.nvmlDeviceGetPowerUsage(handle)
        return reader(nvml.nvmlDeviceGetPowerUsage), power_trace, "power as its driver tells it"
    return reader(nvml.nvmlDeviceGetTotalEnergyConsumption), energy_trace, "its energy counter"


def _text(name: str | bytes) -> str:
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return "".join(each for each in text if each.isprintable())[:100]
