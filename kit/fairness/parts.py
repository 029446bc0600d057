"""A rate or a measure of every group, before and after and its change, with what bounds need of its rows.

Shares of rows that the label alone picks (selection, true and false positives, accuracy) are counted, and paired: their
change is a difference of discordant rows. Predictive parity's rows are picked by the decision, calibration has no
decisions, and weighted rows are no counts: those go by each row's influence (`kit.stats.influence`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kit.fairness.bounds import Bounded
from kit.fairness.groups import Groups
from kit.records import Float64Array, Int64Array
from kit.stats.cells import BoolArray
from kit.stats.clusters import ClusterSums, design_effect
from kit.stats.influence import Influences, influence_counts
from kit.stats.proportions import PairedCounts, Successes


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group's figure before and after, and after less before, of `rows` rows in `clusters` clusters.

    cluster: int64 [clusters], which they are; None where each row is its own.
    """

    before: Bounded
    after: Bounded
    change: Bounded
    rows: int
    clusters: int
    cluster: Int64Array | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A figure that can differ between groups; `groups` in the order of their names, None where it has no rows.

    `reach`: how far apart two groups can be. `is_signed`: whether it can be negative, so that no ratio means anything.
    """

    rate: str
    positive: str
    groups: tuple[GroupFigures | None, ...]
    reach: float = 1.0
    is_signed: bool = False

    @property
    def name(self) -> str:
        """As people say it: ``true positive rate of yes``."""
        return self.rate.replace("-", " ") + (f" of {self.positive}" if self.positive else "")


@dataclass(frozen=True, slots=True)
class Answers:
    """Two models' answers to the same rows. All [rows]; cluster None: rows are independent; weights None: all alike."""

    label: Int64Array
    reference: Int64Array
    optimized: Int64Array
    cluster: Int64Array | None
    weights: Float64Array | None
    icc_floor: float


Paired = tuple[BoolArray | None, BoolArray, BoolArray]
"""Rows that count (None: all), and of each whether it is so before and after."""


def _of_label(wanted: bool, decided: bool) -> Callable[[Answers, int], Paired]:
    def paired(of: Answers, positive: int) -> Paired:
        return (
            (of.label == positive) == wanted,
            (of.reference == positive) == decided,
            (of.optimized == positive) == decided,
        )

    return paired


def _selected(of: Answers, positive: int) -> Paired:
    return None, of.reference == positive, of.optimized == positive


def _right(of: Answers, _: int) -> Paired:
    return None, of.reference == of.label, of.optimized == of.label


def _wrong(of: Answers, _: int) -> Paired:
    return None, of.reference != of.label, of.optimized != of.label


PAIRED: dict[str, Callable[[Answers, int], Paired]] = {
    "selection-rate": _selected,
    "true-positive-rate": _of_label(True, True),
    "false-negative-rate": _of_label(True, False),
    "false-positive-rate": _of_label(False, True),
    "true-negative-rate": _of_label(False, False),
    "accuracy": _right,
    "error-rate": _wrong,
}
"""Rates whose rows the label picks, whatever was decided; ``accuracy`` and ``error-rate`` need no positive class."""


def rate_part(of: Answers, groups: Groups, rate: str, positive: int, name: str = "") -> Part:
    """A rate of `kit.fairness.rates.RATES`, for class `positive` against the rest; `name` is that class's."""
    name = "" if rate in ("accuracy", "error-rate") else name
    if rate == "precision":
        return Part(rate, name, tuple(_precision(of, rows, positive) for rows in by_group(groups)))
    picked, before, after = PAIRED[rate](of, positive)
    if of.weights is not None:
        figures = [_weighted(of, rows, picked, before, after) for rows in by_group(groups)]
    elif of.cluster is None:
        figures = _independent(groups, picked, before, after)
    else:
        figures = [_clustered(of, rows, picked, before, after) for rows in by_group(groups)]
    return Part(rate, name, tuple(figures))


def by_group(groups: Groups) -> list[Int64Array]:
    """Row numbers of every group, by one sort."""
    order = np.argsort(groups.codes, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(groups.codes, minlength=len(groups.names)))[:-1])


def _independent(
    groups: Groups, picked: BoolArray | None, before: BoolArray, after: BoolArray
) -> list[GroupFigures | None]:
    code = groups.codes.astype(np.intp) * 4 + before.view(np.uint8) * np.uint8(2) + after.view(np.uint8)
    code = code if picked is None else code[picked]
    tables = np.bincount(code, minlength=4 * len(groups.names)).reshape(-1, 2, 2)
    return [_figures(table, 1.0, 1.0, 1.0, int(table.sum()) - 1, int(table.sum())) for table in tables]


def _figures(
    table: Int64Array, effect_before: float, effect_after: float, effect: float, df: float, clusters: int
) -> GroupFigures | None:
    """From rows [before, after] and design effects of either share and of the change."""
    rows = int(table.sum())
    if not rows:
        return None
    df = max(1.0, float(df))
    was, became = float(table[1].sum()), float(table[:, 1].sum())
    gained, lost = float(table[0, 1]), float(table[1, 0])
    return GroupFigures(
        Successes(was / effect_before, rows / effect_before, df),
        Successes(became / effect_after, rows / effect_after, df),
        PairedCounts(gained / effect, lost / effect, rows / effect, df),
        rows,
        clusters,
    )


def _clustered(
    of: Answers, rows: Int64Array, picked: BoolArray | None, before: BoolArray, after: BoolArray
) -> GroupFigures | None:
    rows = rows if picked is None else rows[picked[rows]]
    if not len(rows):
        return None
    assert of.cluster is not None
    known, place = np.unique(of.cluster[rows], return_inverse=True)
    code = place.reshape(-1) * 4 + before[rows].view(np.uint8) * np.uint8(2) + after[rows].view(np.uint8)
    tables = np.bincount(code, minlength=4 * (int(place.max()) + 1)).reshape(-1, 2, 2).astype(np.float64)
    effects = [_share_effect(tables.sum(axis=axis), of.icc_floor) for axis in (2, 1)]
    moved = ClusterSums(
        tables.sum(axis=(1, 2)), tables[:, 0, 1] - tables[:, 1, 0], tables[:, 0, 1] + tables[:, 1, 0],
        tables[:, 0, 1] + tables[:, 1, 0] > 0,
    )  # fmt: skip
    effect = float(design_effect(moved, of.icc_floor))
    whole = tables.sum(axis=0).astype(np.int64)
    found = _figures(whole, effects[0], effects[1], effect, len(tables) - 1, len(tables))
    return None if found is None else replace(found, cluster=known)


def _share_effect(table: Float64Array, icc_floor: float) -> float:
    """Design effect of a share, of rows [clusters, so]; what most rows are says nothing of the clustering."""
    usual = int(table[:, 1].sum() * 2 >= table.sum())
    return float(
        design_effect(ClusterSums(table.sum(axis=1), table[:, 1], table[:, 1], table[:, 1 - usual] > 0), icc_floor)
    )


def _weighted(
    of: Answers, rows: Int64Array, picked: BoolArray | None, before: BoolArray, after: BoolArray
) -> GroupFigures | None:
    rows = rows if picked is None else rows[picked[rows]]
    if not len(rows):
        return None
    values = [side[rows].astype(np.float64) for side in (before, after)]
    shares = [mean_influences(value, _weights(of, rows), 0.0, 1.0) for value in values]
    change = mean_influences(values[1] - values[0], _weights(of, rows), -1.0, 1.0)
    return figures_of(of, rows, shares[0], shares[1], change, (0.0, 1.0), (-1.0, 1.0))


def _weights(of: Answers, rows: Int64Array) -> Float64Array:
    return np.ones(len(rows)) if of.weights is None else of.weights[rows]


def mean_influences(values: Float64Array, weights: Float64Array, low: float, high: float) -> Influences:
    """The weighted mean of `values` [rows >= 1], each from `low` to `high`."""
    mean = float(np.average(values, weights=weights))
    known, counts = np.unique(values, return_counts=True)
    return Influences(mean, values - mean, weights, low - mean, high - mean, values != known[counts.argmax()])


def figures_of(
    of: Answers, rows: Int64Array, before: Influences, after: Influences, change: Influences,
    ends: tuple[float, float], change_ends: tuple[float, float],
) -> GroupFigures:  # fmt: skip
    """A group's figures from influences of its `rows`; `ends` and `change_ends` are the range that each can have."""
    cluster = rows if of.cluster is None else of.cluster[rows]
    was, became = (influence_counts(each, cluster, of.icc_floor, *ends)[0] for each in (before, after))
    moved = influence_counts(change, cluster, of.icc_floor, *change_ends)[0]
    known = np.unique(cluster)
    return GroupFigures(was, became, moved, len(rows), len(known), None if of.cluster is None else known)


def _precision(of: Answers, rows: Int64Array, positive: int) -> GroupFigures | None:
    """Share positive among the selected; the change is one of ratios, of rows that either model selects."""
    chosen = [side[rows] == positive for side in (of.reference, of.optimized)]
    if not all(side.any() for side in chosen):
        return None
    either = chosen[0] | chosen[1]
    rows, chosen = rows[either], [side[either] for side in chosen]
    truth, weights = (of.label[rows] == positive).astype(np.float64), _weights(of, rows)
    sides = [_ratio_influences(truth, side, weights) for side in chosen]
    change = Influences(
        estimate=sides[1].estimate - sides[0].estimate,
        values=sides[1].values - sides[0].values,
        weights=weights,
        low=-(reach := max(side.high - side.low for side in sides)) - sides[1].estimate + sides[0].estimate,
        high=reach - sides[1].estimate + sides[0].estimate,
        shown=chosen[0] != chosen[1],
        parts=tuple(chosen),
    )
    fewest = min(chosen, key=lambda side: int(side.sum()))
    cluster = rows if of.cluster is None else of.cluster[rows]
    if of.weights is None:
        was, became = (_share(of, rows[side], of.label == positive) for side in chosen)
    else:
        was, became = (influence_counts(side, cluster, of.icc_floor, 0.0, 1.0)[0] for side in sides)
    moved = influence_counts(change, cluster, of.icc_floor, -1.0, 1.0)[0]
    known = np.unique(cluster[fewest])
    return GroupFigures(was, became, moved, int(fewest.sum()), len(known), None if of.cluster is None else known)


def _share(of: Answers, rows: Int64Array, so: BoolArray) -> Bounded:
    """Share of `rows` (at least one, all of weight 1) that are `so` [all rows]."""
    if of.cluster is None:
        return Successes(float(so[rows].sum()), float(len(rows)), max(1.0, len(rows) - 1.0))
    found = _clustered(of, rows, None, so, so)
    assert found is not None
    return found.before


def _ratio_influences(truth: Float64Array, chosen: BoolArray, weights: Float64Array) -> Influences:
    """Share of `truth` among the `chosen` rows, of which there is one at least (W. G. Cochran, 1977, 6.4)."""
    size = float(np.average(chosen, weights=weights))
    share = float(np.average(truth[chosen], weights=weights[chosen]))
    usual = float(share >= 0.5)
    return Influences(
        share, np.where(chosen, truth - share, 0.0) / size, weights, -share / size, (1.0 - share) / size,
        chosen & (truth != usual), (chosen,),
    )  # fmt: skip


def calibration_part(of: Answers, groups: Groups, positive: int, name: str, scores: Sequence[Float64Array]) -> Part:
    """Mean probability of class `positive` less the share that has it: calibration in the large, signed.

    `scores`: probabilities [rows] before and after. The label cancels in the change, which is one of probabilities.
    """
    truth = (of.label == positive).astype(np.float64)

    def figures(rows: Int64Array) -> GroupFigures | None:
        if not len(rows):
            return None
        values, weights = [side[rows] - truth[rows] for side in scores], _weights(of, rows)
        sides = [mean_influences(each, weights, -1.0, 1.0) for each in values]
        change = mean_influences(values[1] - values[0], weights, -1.0, 1.0)
        return figures_of(of, rows, sides[0], sides[1], change, (-1.0, 1.0), (-1.0, 1.0))

    return Part("calibration-error", name, tuple(figures(rows) for rows in by_group(groups)), 2.0, is_signed=True)
