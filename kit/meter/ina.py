"""Power monitors INA2xx and their kin on a bus of the device (Linux, Documentation/hwmon/ina2xx.rst, ina238.rst).

The driver tells whole mA: of sleep currents it tells nothing. Their makers state gain and offset for the chip, not for
the shunt beside it, so no accuracy is known here unless it is stated.
"""

from dataclasses import replace

from kit.files import Files
from kit.meter.base import Watched
from kit.meter.hwmon import Channel, channels_in, paths_of, trace_of
from kit.meter.polling import PollingMeter, Source, chosen, files_of, nothing_found, rate_hz, readable, text_or
from kit.spec.types import MeterSpec

CHIPS = ("ina", "ltc2945", "ltc2947", "isl28022", "sy24655")
"""How the names of such chips begin."""

_RATE_HZ = 100.0


class InaMeter(PollingMeter):
    """words: part (a rail's label, or the chip's name). parameters: sample_rate_hz, voltage_v where it tells none."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files, rate = files_of(spec, watched), rate_hz(spec, _RATE_HZ)
        channels = choose_channels(spec, find_channels(files))
        for path in paths_of(channels):
            readable(spec, files, path, "let the agent's user read it")
        parameters = {"sample_rate_hz": rate, "current_step_a": 1e-3}
        if any(channel.voltage_v is not None for channel in channels):
            parameters["voltage_v"] = spec.parameters["voltage_v"]
        source = Source(
            description=f"power monitor: {' + '.join(f'{each.name} ({_how(each)})' for each in channels)}",
            begin=lambda: files.sample(paths_of(channels), period_s=1 / rate),
            trace_of=lambda samples: trace_of(samples, channels),
            parameters=parameters,
        )
        super().__init__(spec, source)


def find_channels(files: Files) -> list[Channel]:
    """The rails of all such chips; those of the same name are told apart by their hwmon folder."""
    found = []
    for path in files.glob("/sys/class/hwmon/hwmon*/name"):
        if text_or(files, path).startswith(CHIPS):
            folder = path.rsplit("/", 1)[0]
            found += [(folder.rsplit("/", 1)[-1], each) for each in channels_in(files, folder)]
    names = [channel.name for _, channel in found]
    return [
        replace(channel, name=f"{channel.name} {hwmon}") if names.count(channel.name) > 1 else channel
        for hwmon, channel in found
    ]


def choose_channels(spec: MeterSpec, channels: list[Channel]) -> list[Channel]:
    """The rails that `part` names. Raises MeasurementError where there is none, or one lacks a voltage."""
    if not channels:
        step = f"its driver must be loaded and name a chip such as {', '.join(CHIPS[:3])}..., or use another meter"
        raise nothing_found(spec, "there is no power monitor below /sys/class/hwmon", step)
    names = chosen(spec, [channel.name for channel in channels])
    voltage_v = spec.parameters.get("voltage_v")
    taken = []
    for channel in (each for name in names for each in channels if each.name == name):
        needs_volts = not channel.quantities
        if needs_volts and voltage_v is None:
            step = 'state the rail\'s voltage, such as voltage = "5 V"'
            raise nothing_found(spec, f"{channel.name} measures the current alone", step)
        taken.append(replace(channel, voltage_v=voltage_v) if needs_volts else channel)
    return taken


def _how(channel: Channel) -> str:
    return "current at a stated voltage" if channel.voltage_v is not None else " and ".join(channel.quantities)
