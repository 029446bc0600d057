"""What every benchmark gives: rows of what, ours, peer, ratio, goal, and whether the goal holds."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One comparison; `ours` and `peer` in `unit`; the goal holds if ours is at most `goal` (a ratio, or in `unit`)."""

    what: str
    ours: float
    peer_name: str
    peer: float
    unit: str
    goal_ratio: float | None = None
    goal_absolute: float | None = None

    @property
    def ratio(self) -> float:
        """Ours over the peer's: below 1 is better."""
        return self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether every stated goal holds."""
        by_ratio = self.goal_ratio is None or self.ratio <= self.goal_ratio
        return by_ratio and (self.goal_absolute is None or self.ours <= self.goal_absolute)

    def as_object(self) -> dict[str, object]:
        """For --json."""
        return asdict(self) | {"ratio": self.ratio, "holds": self.holds}

    def as_text(self) -> str:
        """For people."""
        goals = [f"ratio at most {self.goal_ratio:g}"] if self.goal_ratio is not None else []
        goals += [f"at most {self.goal_absolute:g} {self.unit}"] if self.goal_absolute is not None else []
        state = "holds" if self.holds else "DOES NOT HOLD"
        return (
            f"{self.what:<34} ours {self.ours:9.4g} {self.unit:<3} {self.peer_name} {self.peer:9.4g} {self.unit:<3} "
            f"ratio {self.ratio:6.3f}  goal {' and '.join(goals) or 'none'}: {state}"
        )
