"""Devices: links (byte streams) and drivers (what is spoken over them), each a small file and a row here."""

import importlib
from typing import cast

from kit.device.base import Device
from kit.device.link import Link
from kit.errors import SpecError
from kit.spec.link import link_kind
from kit.spec.types import DeviceSpec

LINKS = {
    "subprocess": "kit.device.local:open_local",
    "serial": "kit.device.serial:SerialLink",
    "tcp": "kit.device.tcp:TcpLink",
    "ssh": "kit.device.ssh:SshLink",
    "adb": "kit.device.adb:AdbLink",
    "aarch64": "kit.device.aarch64:open_aarch64",
}
"""How to open a link (a callable of a DeviceSpec), by the kind of its URL; imported when it is used."""

DRIVERS = {
    "agent": "kit.device.agent:AgentDevice",
    "mlperf-tiny": "kit.device.mlperf_tiny:MlperfTinyDevice",
}
"""What speaks to a device (a callable of an opener of its link, and a DeviceSpec), by its protocol."""


def open_link(spec: DeviceSpec) -> Link:
    """Open the byte stream to a device. Raises SpecError for a kind that is not known, LinkError if it fails."""
    kind = link_kind(spec.link)
    if kind not in LINKS:
        known = ", ".join(f"{name}:" for name in sorted(LINKS) if name != "serial")
        raise SpecError(
            f"link {spec.link!r} is of an unknown kind",
            where=spec.path or f"device {spec.name}",
            next_step=f"known kinds: {known}, or a port such as /dev/ttyUSB0",
        )
    return cast(Link, _load(LINKS[kind])(spec))


def open_device(spec: DeviceSpec) -> Device:
    """Open the device that `spec` describes; the caller closes it.

    Raises SpecError for a link of an unknown kind, and LinkError if the device does not answer within `timeout_s`.
    """
    driver = DRIVERS[spec.board.protocol if spec.board else "agent"]
    return cast(Device, _load(driver)(lambda: open_link(spec), spec))


def _load(place: str):  # type: ignore[no-untyped-def]  # every row has its own
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


__all__ = ["DRIVERS", "LINKS", "Device", "Link", "open_device", "open_link"]
