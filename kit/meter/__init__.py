"""Meters: one Protocol, one small file a meter, one registry."""

import importlib
from typing import cast

from kit.errors import SpecError
from kit.meter.base import CpuTime, Meter, PowerTrace, Watched
from kit.spec.types import MeterSpec

METERS = {
    "estimate": "kit.meter.estimate:EstimateMeter",
    "emulated": "kit.meter.emulated:EmulatedMeter",
    "ppk2": "kit.meter.ppk2:Ppk2Meter",
    "lpm01a": "kit.meter.lpm01a:Lpm01aMeter",
    "usb-meter": "kit.meter.usb_meter:UsbMeter",
    "joulescope": "kit.meter.joulescope:JoulescopeMeter",
    "rapl": "kit.meter.rapl:RaplMeter",
    "ina": "kit.meter.ina:InaMeter",
    "jetson": "kit.meter.jetson:JetsonMeter",
    "battery": "kit.meter.battery:BatteryMeter",
    "odpm": "kit.meter.odpm:OdpmMeter",
    "android-battery": "kit.meter.android_battery:AndroidBatteryMeter",
    "nvml": "kit.meter.nvml:NvmlMeter",
    "replay": "kit.meter.replay:ReplayMeter",
}
"""How to open a meter (a callable of a MeterSpec and a Watched), by its driver's name; imported when it is used."""


def open_meter(spec: MeterSpec, watched: Watched) -> Meter:
    """Open the meter that `spec` describes.

    Raises SpecError for an unknown driver or wrong parameters, MissingExtraError where its library is not installed,
    and MeasurementError where it does not answer or cannot watch this.
    """
    if spec.driver not in METERS:
        known = ", ".join(sorted(METERS))
        raise SpecError(f"unknown meter {spec.driver!r}", where="meter", next_step=f"known meters: {known}")
    module, name = METERS[spec.driver].split(":")
    return cast(Meter, getattr(importlib.import_module(module), name)(spec, watched))


__all__ = ["METERS", "CpuTime", "Meter", "PowerTrace", "Watched", "open_meter"]
