"""What the steps of a run share: its inputs, its journal, and who is told how far it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kit.device.base import Progress
from kit.pipeline.order import Inputs
from kit.store import Run

T = TypeVar("T")


class Watcher(Protocol):
    """Who is told how far the work is."""

    def start(self, step: str) -> None:
        """A step begins."""

    def update(self, done: int, total: int) -> None:
        """A step is `done` of `total` in its own unit."""

    def finish(self, step: str, *, reused: bool = False) -> None:
        """A step is done; `reused` if an earlier run had done it."""


@dataclass(slots=True)
class Work:
    """What the steps share."""

    inputs: Inputs
    run: Run
    watcher: Watcher

    def step(self, name: str, kind: type[T], produce: Callable[[], T | None]) -> T | None:
        """One journaled step, watched; None if what it looks for is absent."""
        reused = name in self.run.steps
        self.watcher.start(name)
        record = self.run.optional_step(name, kind, produce)
        self.watcher.finish(name, reused=reused)
        return record

    @property
    def progress(self) -> Progress:
        """The watcher's inner progress, for what takes long."""
        return self.watcher.update
