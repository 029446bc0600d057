"""What every benchmark gives: rows of what, ours, peer, ratio, goal, and whether the goal holds."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One comparison; `ours` and `peer` in `unit`; None where there is no figure, and `note` says why.

    The goal holds if ours is at most `goal` (a ratio, or in `unit`), or at least that where `higher_is_better`. What
    has no figure holds no goal.
    """

    what: str
    ours: float | None
    peer_name: str
    peer: float | None
    unit: str
    goal_ratio: float | None = None
    goal_absolute: float | None = None
    higher_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        return None if self.ours is None or self.peer is None else self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether every stated goal holds."""
        return self._reaches(self.ratio, self.goal_ratio) and self._reaches(self.ours, self.goal_absolute)

    def as_object(self) -> dict[str, object]:
        """For --json."""
        return asdict(self) | {"ratio": self.ratio, "holds": self.holds}

    def as_text(self) -> str:
        """For people."""
        bound = "at least" if self.higher_is_better else "at most"
        goals = [f"ratio {bound} {self.goal_ratio:g}"] if self.goal_ratio is not None else []
        goals += [f"{bound} {self.goal_absolute:g} {self.unit}"] if self.goal_absolute is not None else []
        state = "" if not goals else ": holds" if self.holds else ": DOES NOT HOLD"
        peer = f" {self.peer_name} {_figure(self.peer, self.unit)} ratio {_figure(self.ratio, '')}"
        return (
            f"{self.what:<34} ours {_figure(self.ours, self.unit)}{peer if self.peer_name else ''} "
            f"goal {' and '.join(goals) or 'none'}{state}{f' ({self.note})' if self.note else ''}"
        )

    def _reaches(self, value: float | None, goal: float | None) -> bool:
        if goal is None:
            return True
        if value is None:
            return False
        return value >= goal if self.higher_is_better else value <= goal


def _figure(value: float | None, unit: str) -> str:
    return f"{'none':>9}" if value is None else f"{value:9.4g} {unit:<3}"
