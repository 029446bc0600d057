"""Who a device is: what it says of itself, how its link stands, where its clock is and how it is doing."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from kit.agent.state import agent_digest
from kit.device import Device, open_device
from kit.device.link import LinkHealth
from kit.errors import DeviceError, LinkError
from kit.records import Conditions, DeviceRecord
from kit.spec.link import link_kind
from kit.spec.types import DeviceSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Portrait:
    """A device at one moment; what it has no way to tell is None.

    `clock_offset_ns` is the device's clock less the host's, and its error bound. `same_agent` compares the digest of
    the agent's program with that of this host's release; None where no agent answers.
    """

    device: DeviceRecord
    conditions: Conditions | None
    link_kind: str
    nominal_bytes_per_s: float | None
    round_trip_s: float | None
    clock_offset_ns: tuple[int, int] | None
    same_agent: bool | None

    @property
    def has_agent(self) -> bool:
        """Whether our agent answers, and not a board's own firmware."""
        return self.same_agent is not None


def identify(spec: DeviceSpec) -> Portrait:
    """Open the device, ask it, and close it. Raises DeviceError or LinkError if it does not answer."""
    with closing(open_device(spec)) as device:
        record = device.identify()
        health = link_health(device)
        offset = _told(device.clock_offset_ns)
        return Portrait(
            device=record,
            conditions=_told(device.conditions),
            link_kind=kind_of(spec),
            nominal_bytes_per_s=health.nominal_bytes_per_s if health else _line_rate(spec),
            round_trip_s=2e-9 * offset[1] if offset else None,
            clock_offset_ns=offset,
            same_agent=None if spec.board else record.agent_digest == agent_digest(),
        )


def link_health(device: Device) -> LinkHealth | None:
    """What the link has seen so far; None for a driver that does not count."""
    health: Callable[[], LinkHealth] | None = getattr(device, "health", None)
    return health() if health else None


def _line_rate(spec: DeviceSpec) -> float | None:
    """Bytes a second of a serial line, each way: 10 bits a byte (8N1)."""
    return spec.baud / 10 if link_kind(spec.link) == "serial" else None


def kind_of(spec: DeviceSpec) -> str:
    """The kind of a device's link in words, an emulated line named as such."""
    kind = link_kind(spec.link)
    if spec.emulate is not None and spec.emulate.line is not None:
        return f"serial line of {spec.emulate.line.baud} baud, EMULATED on {kind}"
    return f"serial line of {spec.baud} baud" if kind == "serial" else kind


def _told(ask: Callable[[], T]) -> T | None:
    """What the device answers; None where it refuses because it has nothing to tell."""
    try:
        return ask()
    except LinkError:
        raise
    except DeviceError:
        return None
