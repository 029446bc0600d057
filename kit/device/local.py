"""An agent on this machine (``subprocess:``): as it is."""

from kit.device.link import Link
from kit.device.subprocess import SubprocessLink
from kit.spec.types import DeviceSpec


def open_local(spec: DeviceSpec) -> Link:
    """A link to an agent that is started here."""
    return SubprocessLink(spec)
