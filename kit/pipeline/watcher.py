"""Who is told how far a test of a device is."""

from typing import Protocol

from kit.spec.types import DeviceSpec


class Watcher(Protocol):
    """Who is told how far the test is."""

    def start(self, step: str) -> None:
        """A phase begins."""

    def update(self, done: int, total: int) -> None:
        """It is `done` of `total` ms."""

    def finish(self, step: str) -> None:
        """It is over."""


def waiting_for(spec: DeviceSpec) -> str:
    """The step before all others: an agent or a board that is silent takes as long as the device file allows."""
    return f"waiting for {spec.name}"
