"""Which nodes to give back to float: the order, from one look at each, and the shortest list that is enough."""

from collections.abc import Callable
from functools import cached_property

from kit.model.search.estimate import SOME, Estimator
from kit.model.search.treatment import Ground, Treatment

LEAST_BYTES = 64
"""A node that costs less in float, or even saves bytes, is taken to cost this much: integers have other merits."""

SAVING = 0.01
"""Share of the file that leaving a node out must save, to be worth a look."""

Told = Callable[[str, int, int], None]
"""Called with the phase, how much of it is done, and how much there is."""


class Ladder:
    """The nodes of one treatment, in the order in which they are given back.

    The order is of what a node's quantization does by itself, a byte. Losses do not add up, so every list is simulated
    as a whole before it is proposed.
    """

    def __init__(self, ground: Ground, treatment: Treatment, estimator: Estimator, told: Told) -> None:
        self._ground, self._treatment, self._estimator, self._told = ground, treatment, estimator, told

    def divergence(self, kept: frozenset[str]) -> float:
        """See `Estimator.divergence`."""
        return self._estimator.divergence(self._ground, self._treatment, kept)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Nodes by the divergence that each causes where it alone is quantized, for each byte that it costs in float.

        This is the sensitivity pass: each node is looked at on the same rows.
        """
        units, plain = self._ground.units, self._ground.size_bytes(frozenset())
        everything = frozenset(units)
        worth: dict[str, float] = {}
        for number, node in enumerate(units):
            self._told("nodes", number, len(units))
            caused = self._estimator.divergence(self._ground, self._treatment, everything - {node}, SOME)
            given_back = self._ground.with_neighbours(frozenset({node}))
            worth[node] = caused / max(LEAST_BYTES, self._ground.size_bytes(given_back) - plain)
        self._told("nodes", len(units), len(units))
        return tuple(sorted(units, key=lambda node: (-worth[node], node)))

    def shortest(self, target: float) -> frozenset[str] | None:
        """The nodes of a short list with which the divergence is at most `target`; None if only all of them are enough.

        Lists of 1, 2, 4 ... nodes are tried, then those between the last two, then each node of it is left out in
        turn, the least useful first.
        """
        if self.divergence(frozenset()) <= target:
            return frozenset()
        low, high = 0, 1
        while high < len(self.order) and not self._enough(self.order[:high], target):
            low, high = high, 2 * high
        high = min(high, len(self.order))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._enough(self.order[:middle], target) else (middle, high)
        kept = self._kept(self._pruned(self.order[:high], target))
        return None if self._ground.products <= kept else kept

    def _pruned(self, chosen: tuple[str, ...], target: float) -> tuple[str, ...]:
        for node in reversed(chosen[:-1]):
            fewer = tuple(each for each in chosen if each != node)
            sizes = [self._ground.size_bytes(self._kept(each)) for each in (chosen, fewer)]
            if sizes[0] - sizes[1] > SAVING * sizes[0] and self._enough(fewer, target):
                chosen = fewer
        return chosen

    def _kept(self, chosen: tuple[str, ...]) -> frozenset[str]:
        return self._ground.with_neighbours(frozenset(chosen))

    def _enough(self, chosen: tuple[str, ...], target: float) -> bool:
        return self.divergence(self._kept(chosen)) <= target
