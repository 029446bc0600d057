"""Devices: one Protocol, one small file a driver, one registry."""

from collections.abc import Callable
from urllib.parse import urlsplit

from kit.device.base import Device
from kit.errors import SpecError
from kit.spec.types import DeviceSpec


def _subprocess(spec: DeviceSpec) -> Device:
    from kit.device.agent import AgentDevice
    from kit.device.subprocess import SubprocessLink

    return AgentDevice(SubprocessLink(spec), spec)


DRIVERS: dict[str, Callable[[DeviceSpec], Device]] = {"subprocess": _subprocess}
"""How to open a device, by the scheme of its link's URL; a driver is one row here and one file beside this one."""


def open_device(spec: DeviceSpec) -> Device:
    """Open the device that `spec` describes; the caller closes it.

    Raises SpecError for a link of an unknown kind, and LinkError if the device does not answer within `timeout_s`.
    """
    scheme = urlsplit(spec.link).scheme
    if scheme not in DRIVERS:
        raise SpecError(
            f"link {spec.link!r} is of an unknown kind",
            where=spec.path or f"device {spec.name}",
            next_step=f"known kinds: {', '.join(f'{name}:' for name in sorted(DRIVERS))}",
        )
    return DRIVERS[scheme](spec)


__all__ = ["DRIVERS", "Device", "open_device"]
