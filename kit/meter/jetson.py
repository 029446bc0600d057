"""The rails of a Jetson module: INA3221 monitors, at whichever place its release of Linux for Tegra has them.

They give voltage (mV) and current (mA) and no power; releases before 32 give in_powerN_input (mW) instead (NVIDIA,
Jetson Linux Developer Guide, "Software-based power consumption modelling"). Where no rail is the module's input, the
sum is left to the user: on some modules one rail feeds another.
"""

from kit.files import Files
from kit.meter.base import Watched
from kit.meter.hwmon import Channel, channels_in, paths_of, trace_of
from kit.meter.polling import PollingMeter, Source, chosen, files_of, nothing_found, rate_hz, readable
from kit.spec.types import MeterSpec

WHOLE = ("VDD_IN", "POM_5V_IN", "5V_IN", "SYS_VDD_IN")
"""Rails that are the whole module's input, by the modules' device trees."""

_PLACES = tuple(
    f"/sys/bus/i2c/drivers/{driver}/*-*{deeper}"
    for driver in ("ina3221", "ina3221x")
    for deeper in ("", "/hwmon*", "/hwmon/hwmon*", "/hwmon/hwmon*/hwmon*", "/iio:device*")
)
_RATE_HZ = 50.0


class JetsonMeter(PollingMeter):
    """words: part, a rail's label, or several as A+B; without it the module's input, where it has such a rail."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files, rate = files_of(spec, watched), rate_hz(spec, _RATE_HZ)
        found = find_rails(files)
        if not found:
            step = "this is no Jetson, or its agent may not read /sys/bus/i2c; use another meter"
            raise nothing_found(spec, "there are no INA3221 rails", step)
        names = chosen(spec, [rail.name for rail in found], whole=WHOLE)
        rails = [next(rail for rail in found if rail.name == name) for name in names]
        for path in paths_of(rails):
            readable(spec, files, path, "let the agent's user read it")
        source = Source(
            description=f"Jetson rails: {' + '.join(names)}",
            begin=lambda: files.sample(paths_of(rails), period_s=1 / rate),
            trace_of=lambda samples: trace_of(samples, rails),
            parameters={"sample_rate_hz": rate, "rails": float(len(rails))},
        )
        super().__init__(spec, source)


def find_rails(files: Files) -> list[Channel]:
    """Rails at all places, each once; channels that are not connected are none."""
    rails: dict[str, Channel] = {}
    for place in _PLACES:
        for folder in _folders(files, place):
            for rail in channels_in(files, folder):
                if rail.quantities and rail.name not in ("NC", ""):
                    rails.setdefault(rail.name, rail)
    return list(rails.values())


def _folders(files: Files, place: str) -> list[str]:
    """Folders that match and hold a channel."""
    attributes = [*files.glob(f"{place}/curr*_input"), *files.glob(f"{place}/in_power*_input")]
    return sorted({path.rsplit("/", 1)[0] for path in attributes})
