"""What is estimated on some of the rows: a configuration's divergence from the reference, and what it would lose."""

from collections.abc import Callable

import numpy as np

from kit.model.quantize import Variant
from kit.model.search.base import Selection
from kit.model.search.sensitivity import row_losses, spread_subset
from kit.model.search.treatment import Ground, Treatment
from kit.model.session import HostSession
from kit.records import Float32Array, Float64Array, Int64Array, SearchGap

FEW, SOME, MANY = 32, 64, 128
"""Rows for a first look at a treatment, for a look at a single node, and for what decides between configurations.
Losses are smooth and all configurations see the same rows, so few are enough to compare them."""

GUESS_ROWS = 256
"""Rows on which gaps are guessed: decisions change rarely, so it takes more of them."""

_Key = tuple[str, Treatment, frozenset[str], int]


class Estimator:
    """Simulates configurations on subsets of the selection rows, each once.

    Args:
        selection: the rows.
        seed: of the subsets.
        before: called before rows are run; it may raise to stop.
    """

    def __init__(self, selection: Selection, seed: int, before: Callable[[], None]) -> None:
        self._selection, self._seed, self._before = selection, seed, before
        self._scores: dict[_Key, Float32Array] = {}
        self._first: tuple[Ground, Treatment] | None = None
        self.rows_run = 0
        """Rows of variants that were made; grounds count what they simulate."""

    def rows(self, count: int) -> Int64Array:
        """At most `count` rows, from every stratum its share."""
        return spread_subset(self._selection.strata, count, self._seed)

    def losses(self, ground: Ground, treatment: Treatment, kept: frozenset[str], count: int) -> Float64Array:
        """Each row's loss, see `row_losses`: float64 [rows]."""
        rows = self.rows(count)
        return row_losses(self._simulated(ground, treatment, kept, count), self._selection.reference[rows])

    def divergence(self, ground: Ground, treatment: Treatment, kept: frozenset[str], count: int = MANY) -> float:
        """Mean loss of the rows, those of a stratum weighted by what it lost on the first call, with nothing in float.

        The weights are the same for all configurations, so that their divergences compare.
        """
        self._first = self._first or (ground, treatment)
        losses = self.losses(ground, treatment, kept, count)
        return float(np.average(losses, weights=self._weights(*self._first, count)))

    def divergence_of(self, variant: Variant, output: str, count: int = MANY) -> float:
        """As `divergence`, of a variant that was made, in exact integer arithmetic; ModelError if it fails on a row."""
        self._before()
        rows = self.rows(count)
        feeds = {name: array[rows] for name, array in self._selection.feeds.items()}
        scores = HostSession(variant.data, exact=True).run(feeds)[output].reshape(len(rows), -1)
        self.rows_run += len(rows)
        losses = row_losses(scores.astype(np.float32), self._selection.reference[rows])
        weights = self._weights(*self._first, count) if self._first else np.ones(len(losses))
        return float(np.average(losses, weights=weights))

    def gaps(self, ground: Ground, treatment: Treatment, kept: frozenset[str]) -> tuple[SearchGap, ...]:
        """The requirements' gaps on `GUESS_ROWS` rows: a rough guess, as a slice has few of them."""
        decisions = self._simulated(ground, treatment, kept, GUESS_ROWS).argmax(axis=1).astype(np.int64)
        return self._selection.objective(decisions, self.rows(GUESS_ROWS))

    def _weights(self, ground: Ground, treatment: Treatment, count: int) -> Float64Array:
        losses = self.losses(ground, treatment, frozenset(), count)
        _, stratum = np.unique(self._selection.strata[self.rows(count)], return_inverse=True)
        suffered: Float64Array = (np.bincount(stratum, losses) / np.bincount(stratum))[stratum]
        return suffered if suffered.any() else np.ones(len(losses))

    def _simulated(self, ground: Ground, treatment: Treatment, kept: frozenset[str], count: int) -> Float32Array:
        key = (ground.base, treatment, kept, count)
        if key not in self._scores:
            self._before()
            rows = self.rows(count)
            feeds = {name: array[rows] for name, array in self._selection.feeds.items()}
            self._scores[key] = ground.scores(feeds, treatment, kept)
        return self._scores[key]
