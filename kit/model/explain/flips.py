"""The nearest change found that flips a decision back: a search by running the model, within what the data shows.

Two searches, the nearer result counts. Over single values (where an input has few): values of a grid over the data's
range, one feature after another, the best kept until the decision flips. Towards other rows: a straight way to rows
that are decided as wanted, then every feature that is not needed is put back. Both end by moving back as far as the
decision allows. Nothing shows that there is no nearer change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.model.explain.features import Features
from kit.records import Float64Array, Int64Array

Array = NDArray[np.generic]
Decide = Callable[[Array], Float64Array]
"""Score of the wanted class less the highest other, of rows [n, *shape]: float64 [n]; above 0 it is decided so."""

GRID, MOST_CHANGED, NEAREST, HALVINGS = 16, 4, 5, 10


class _SpentError(Exception):
    """No more inputs may be tried."""


@dataclass(slots=True)
class Search:
    """One row's search. row: float64 [values]; spread: standard deviation of each value, 0 where it may not change."""

    decide: Decide
    row: Float64Array
    spread: Float64Array
    low: Float64Array
    high: Float64Array
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    trials: int
    best: Float64Array | None = None

    def nearest(self, features: Features, others: Float64Array) -> Float64Array | None:
        """The nearest input found that flips, float64 [values], or None. `others` [m, values] may, nearest first."""
        try:
            if len(features) == len(self.row):
                self._one_by_one()
            for other in others[:NEAREST]:
                self._towards(np.where(self.spread > 0, other, self.row), features)
        except _SpentError:
            pass
        return self.best

    def distance(self, changed: Float64Array) -> float:
        """How far `changed` [values] is from the row, in standard deviations."""
        safe = np.where(self.spread > 0, self.spread, 1.0)
        return float(np.sqrt((((changed - self.row) / safe) ** 2).sum()))

    def _margins(self, rows: Float64Array) -> Float64Array:
        """Margins of candidate rows; the nearest that flips is kept."""
        if len(rows) > self.trials:
            raise _SpentError
        self.trials -= len(rows)
        margins = self.decide(self.real(rows))
        for flipped in np.flatnonzero(margins > 0):
            self._keep(rows[flipped])
        return margins

    def real(self, rows: Float64Array) -> Array:
        """Rows [n, values] as the model takes them."""
        numbers = np.rint(rows) if self.dtype.kind in "iub" else rows
        return numbers.astype(self.dtype).reshape(-1, *self.shape)

    def _keep(self, row: Float64Array) -> None:
        exact = self.real(row[None]).reshape(-1).astype(np.float64)
        if self.best is None or self.distance(exact) < self.distance(self.best):
            self.best = exact

    def _one_by_one(self) -> None:
        """Greedy: of all values of a grid for every feature the one that comes nearest to flipping, again and again."""
        at, free = self.row.copy(), np.flatnonzero((self.spread > 0) & (self.high > self.low))
        for _ in range(min(MOST_CHANGED, len(free))):
            grid = np.linspace(self.low[free], self.high[free], GRID, axis=1).reshape(-1)
            which = np.repeat(free, GRID)
            tries = np.repeat(at[None], len(which), axis=0)
            tries[np.arange(len(which)), which] = grid
            margins = self._margins(tries)
            if (margins > 0).any():
                apart = np.array(
                    [self.distance(row) if yes else np.inf for row, yes in zip(tries, margins > 0, strict=True)]
                )
                self._back(tries[int(apart.argmin())])
                return
            at = tries[int(margins.argmax())]
            free = free[free != which[int(margins.argmax())]]

    def _towards(self, other: Float64Array, features: Features) -> None:
        if self._margins(other[None])[0] <= 0:
            return
        self._back(self._fewer(self._back(other), features))

    def _back(self, flipped: Float64Array) -> Float64Array:
        """The nearest to the row that still flips, by halving the straight way from it."""
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if self._margins((self.row + middle * (flipped - self.row))[None])[0] > 0:
                high = middle
            else:
                low = middle
        return self.row + high * (flipped - self.row)

    def _fewer(self, flipped: Float64Array, features: Features) -> Float64Array:
        """Puts features back, the one that shortens the way most first, while the decision stays flipped."""
        while True:
            changed = np.unique(features.of_value[flipped != self.row])
            if len(changed) < 2:
                return flipped
            tries = np.where(features.of_value[None] == changed[:, None], self.row, flipped)
            margins = self._margins(tries)
            apart = [self.distance(row) if margin > 0 else np.inf for row, margin in zip(tries, margins, strict=True)]
            if not np.isfinite(min(apart)):
                return flipped
            flipped = tries[int(np.argmin(apart))]


def nearest_first(row: Float64Array, rows: Iterable[Float64Array], spread: Float64Array) -> Int64Array:
    """Order of `rows` by distance from `row`, in standard deviations."""
    weight = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.argsort([float((((other - row) * weight) ** 2).sum()) for other in rows], kind="stable")
