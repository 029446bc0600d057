"""An Android device's battery gauge: charge counter, current and voltage, as its agent reads them (BatteryManager's).

Android asks for uV, uA and uAh; drivers that tell mV are told by the figure, since no battery has so few uV. Drivers
that tell mA cannot be told for sure: a current that no running device draws is refused until its unit is stated.
"""

from dataclasses import replace

import numpy as np

from kit.files import Files
from kit.meter.base import Watched
from kit.meter.battery import SUPPLIES, Gauge, gauge_in, source_of
from kit.meter.polling import PollingMeter, files_of, nothing_found, text_or
from kit.meter.series import whole
from kit.spec.types import MeterSpec

WAYS = {"now": (("current_now", "voltage_now"),), "counter": (("charge_counter", "voltage_now"),)}
"""The gauge's files by mode: see kit.meter.battery."""

_SUPPLIES = ("battery", "bms", "main-battery", "*")
_CHARGERS = ("Mains", "USB", "USB_DCP", "USB_CDP", "USB_ACA", "USB_C", "USB_PD", "Wireless")
_LEAST_UV, _LEAST_UA = 100_000, 5_000  # a device that runs an agent draws more than 5 mA
_CURRENT_UNITS = {"uA": 1e-6, "mA": 1e-3}


class AndroidBatteryMeter(PollingMeter):
    """words: mode (now or counter), current_unit (uA or mA, what current_now tells)."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files = files_of(spec, watched)
        super().__init__(spec, source_of(spec, files, find_gauge(spec, files)))


def find_gauge(spec: MeterSpec, files: Files) -> Gauge:
    """The gauge, with its units as the driver has them. Raises MeasurementError where there is none, or no unit."""
    for name in _SUPPLIES:
        for path in files.glob(f"{SUPPLIES}/{name}/voltage_now"):
            folder = path.rsplit("/", 1)[0]
            gauge = gauge_in(spec, files, folder, WAYS)
            if gauge is not None and text_or(files, f"{folder}/type") not in _CHARGERS:
                return replace(gauge, scales=_scales(spec, files, gauge))
    step = "the agent's user may not read it, or there is none: use odpm, or a meter on the supply"
    raise nothing_found(spec, f"no battery below {SUPPLIES} tells current and voltage", step)


def _scales(spec: MeterSpec, files: Files, gauge: Gauge) -> tuple[float, ...]:
    """The worth of each file's unit."""
    scales = dict(zip(gauge.files, gauge.scales, strict=True))
    volts = abs(whole(files.read(f"{gauge.folder}/voltage_now")))
    if not np.isfinite(volts) or volts < 1000:
        raise nothing_found(spec, f"voltage_now tells {volts:g}, which is no voltage of a battery", "use another meter")
    if volts < _LEAST_UV:
        scales["voltage_now"] = 1e-3
    unit = spec.words.get("current_unit", "")
    if unit and unit not in _CURRENT_UNITS:
        raise nothing_found(spec, f"current_now is in uA or mA, not {unit!r}", 'state current_unit = "mA"')
    if "current_now" in scales:
        amount = abs(whole(files.read(f"{gauge.folder}/current_now")))
        if not unit and 0 < amount < _LEAST_UA:
            what = f"current_now tells {amount:g}, less than 5 mA if that is in uA: its driver may tell mA"
            raise nothing_found(spec, what, 'state current_unit = "mA", or "uA" if that is right')
        scales["current_now"] = _CURRENT_UNITS[unit or "uA"]
    return tuple(scales[name] for name in gauge.files)
