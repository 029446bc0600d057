"""Meters: one Protocol, one small file a meter, one registry."""

from collections.abc import Callable

from kit.errors import SpecError
from kit.meter.base import Meter, PowerTrace
from kit.spec.types import MeterSpec

CpuTime = Callable[[], int]


def _estimate(spec: MeterSpec, cpu_time_ns: CpuTime, process_id: int | None) -> Meter:
    from kit.meter.estimate import EstimateMeter

    return EstimateMeter(spec, cpu_time_ns, process_id)


def _emulated(spec: MeterSpec, cpu_time_ns: CpuTime, process_id: int | None) -> Meter:
    from kit.meter.emulated import EmulatedMeter

    return EmulatedMeter(spec, cpu_time_ns, process_id)


METERS: dict[str, Callable[[MeterSpec, CpuTime, int | None], Meter]] = {"estimate": _estimate, "emulated": _emulated}
"""How to open a meter, by its driver's name; a meter is one row here and one file beside this one."""


def open_meter(spec: MeterSpec, *, cpu_time_ns: CpuTime, process_id: int | None) -> Meter:
    """Open the meter that `spec` describes, for a device that tells its CPU time and, if local, its process.

    Raises SpecError for an unknown driver or wrong parameters, MeasurementError where it cannot read this device.
    """
    if spec.driver not in METERS:
        known = ", ".join(sorted(METERS))
        raise SpecError(f"unknown meter {spec.driver!r}", where="meter", next_step=f"known meters: {known}")
    return METERS[spec.driver](spec, cpu_time_ns, process_id)


__all__ = ["METERS", "Meter", "PowerTrace", "open_meter"]
