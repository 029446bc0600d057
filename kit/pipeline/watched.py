"""What a meter watches on a device."""

from kit.device.base import Device
from kit.meter import Watched


def watched_on(device: Device) -> Watched:
    """The device's agent: its CPU time, its process if that runs here, and the device's files."""
    return Watched(device.cpu_time_ns, device.process_id(), device.files())
