"""What a measure is: what each row loses, and the figure with each row's influence on it.

Every measure has losses, so that any slice can be judged later. Most are a ratio of sums of them; the others (areas,
F1 scores, roots, mean average precision) have a figure of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.errors import EdgeproofError
from kit.records import (
    DatasetRecord,
    Float32Array,
    Float64Array,
    Int64Array,
    PredictionRecord,
    RaggedRecord,
    ScoreRule,
    TaskName,
)
from kit.stats.influence import Influences

BoolArray = NDArray[np.bool_]


class UndefinedError(EdgeproofError):
    """A measure has no value on these rows (an AUC without positives): it is absent there, and not zero."""

    exit_code = 5
    slug = "undefined"


@dataclass(frozen=True, slots=True)
class Rows:
    """Truth and answers of the same rows.

    labels: int64 [rows] into `classes`; targets, items: a vector or list a row; weights: float64 [rows], positive;
    scores: float32 [rows, outputs]; decisions: int64 [rows], or empty; reference_scores: those of the reference, for a
    measure of agreement. `positive` is the class that is looked for: the last one of two, one of many only if named.
    `largest`: no row loses (or errs by) more, where the measure has no end of its own; None: nobody said.
    """

    task: TaskName
    classes: tuple[str, ...]
    labels: Int64Array
    targets: RaggedRecord | None
    weights: Float64Array
    rule: ScoreRule
    scores: Float32Array
    decisions: Int64Array
    items: RaggedRecord | None
    reference_scores: Float32Array
    positive: str = ""
    largest: float | None = None

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, mask: BoolArray) -> "Rows":
        """The rows of `mask` bool [rows]."""
        return replace(
            self,
            labels=self.labels[mask],
            targets=taken(self.targets, mask),
            weights=self.weights[mask],
            scores=self.scores[mask],
            decisions=self.decisions[mask] if len(self.decisions) else self.decisions,
            items=taken(self.items, mask),
            reference_scores=self.reference_scores[mask],
        )


def rows_of(
    data: DatasetRecord,
    given: PredictionRecord,
    reference: PredictionRecord,
    positive: str = "",
    largest: float | None = None,
) -> Rows:
    """All rows of a dataset under the answers of `given`."""
    return Rows(
        task=data.task,
        classes=data.classes,
        labels=data.labels,
        targets=data.targets,
        weights=np.ones(data.rows) if data.weights is None else data.weights,
        rule=data.scores,
        scores=given.scores,
        decisions=given.decisions,
        items=given.items,
        reference_scores=reference.scores,
        positive=positive,
        largest=largest,
    )


def taken(of: RaggedRecord | None, mask: BoolArray) -> RaggedRecord | None:
    """The lists of the rows of `mask`."""
    if of is None:
        return None
    counts = np.diff(of.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts[mask])]).astype(np.int64)
    return RaggedRecord(of.values[np.repeat(mask, counts)], offsets)


@dataclass(frozen=True, slots=True)
class Losses:
    """What each row loses: losses, sizes float64 [rows]; low and high bound a row's loss, None where nothing does."""

    losses: Float64Array
    sizes: Float64Array | None = None
    low: float | None = 0.0
    high: float | None = 1.0

    @property
    def top(self) -> float:
        """The most that a row loses: `high`, or the greatest loss seen where nothing bounds it."""
        return float(np.abs(self.losses).max(initial=0.0)) if self.high is None else self.high

    @property
    def bottom(self) -> float:
        """The least that a row loses."""
        return float(self.losses.min(initial=0.0)) if self.low is None else self.low


@dataclass(frozen=True, slots=True)
class Measure:
    """Losses of rows, and their figure; without `figure` it is the ratio of sums, or 1 less it if `is_share_right`.

    range: the least and the greatest that the figure can be. is_biased: whether it is off on average in small samples
    (see `kit.task.bias`); the difference of two models on the same rows is off by both. bounded: what a requirement's
    `largest` bounds in each row, where that is not its loss. square: the figure's square with its influences, where
    bounds of that say more truly where the figure lies; None where it is not known.
    """

    losses: Callable[[Rows], Losses]
    figure: Callable[[Rows], Influences] | None = None
    is_share_right: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    is_biased: bool = False
    bounded: Callable[[Rows], Float64Array] | None = None
    square: Callable[[Rows], Influences | None] | None = None

    def size(self, rows: Rows) -> Float64Array:
        """What a requirement's `largest` bounds in each row: float64 [rows]."""
        return self.losses(rows).losses if self.bounded is None else self.bounded(rows)

    def of(self, rows: Rows) -> Influences:
        """The figure of some rows, with influences. Raises UndefinedError where it has none."""
        if not len(rows):
            raise UndefinedError("there are no rows")
        if self.figure is not None:
            return self.figure(rows)
        found = ratio_of_sums(self.losses(rows), rows.weights)
        return complement(found) if self.is_share_right else found


def ratio_of_sums(of: Losses, weights: Float64Array) -> Influences:
    """Sum of losses over sum of sizes, by Taylor linearization: a row moves it by (loss - ratio x size) / mean size.

    Source: W. G. Cochran, Sampling Techniques, 1977, 6.4. Raises UndefinedError where the sizes are all 0.
    """
    sizes = np.ones(len(of.losses)) if of.sizes is None else of.sizes
    share = weights / weights.sum()
    size = float(share @ sizes)
    if size <= 0.0:
        raise UndefinedError("there is nothing in these rows that could be right or wrong")
    ratio = float(share @ of.losses) / size
    values, counts = np.unique(of.losses, return_counts=True)
    return Influences(
        estimate=ratio,
        values=(of.losses - ratio * sizes) / size,
        weights=weights,
        low=(of.bottom - ratio * float(sizes.max())) / size,
        high=(of.top - ratio * float(sizes.min())) / size,
        shown=of.losses != values[counts.argmax()],
    )


def complement(of: Influences) -> Influences:
    """1 less the figure."""
    return replace(of, estimate=1.0 - of.estimate, values=-of.values, low=-of.high, high=-of.low)


def worsening(
    reference: Influences, optimized: Influences, changed: BoolArray, *, higher_is_better: bool
) -> Influences:
    """By how much a figure of the optimized model is worse than the reference's, on the same rows.

    changed: bool [rows], rows on which they differ. One row may matter as much as its whole range, either way.
    """
    sign = 1.0 if higher_is_better else -1.0
    worse = sign * (reference.estimate - optimized.estimate)
    reach = max(reference.high - reference.low, optimized.high - optimized.low)
    return Influences(
        estimate=worse,
        values=sign * (reference.values - optimized.values),
        weights=reference.weights,
        low=-reach - worse,
        high=reach - worse,
        shown=changed,
        parts=reference.parts,
    )


def averaged(of: list[Influences], most: int | None = None) -> Influences:
    """The plain mean of several figures of the same rows, as macro averages are.

    most: in how many of the figures a row can matter much (its own class, and one that it is taken for); None: in all.
    """
    values = np.mean([each.values for each in of], axis=0)
    low = sum(sorted(each.low for each in of)[:most]) / len(of)
    high = sum(sorted((each.high for each in of), reverse=True)[:most]) / len(of)
    return Influences(
        estimate=float(np.mean([each.estimate for each in of])),
        values=values,
        weights=of[0].weights,
        low=min(low, float(values.min())),
        high=max(high, float(values.max())),
        shown=np.any([each.shown for each in of], axis=0),
        parts=tuple(part for each in of for part in each.parts),
    )
