"""Rows to effective counts: right and wrong on the same rows, reference against optimized, by cluster."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.judge.base import POWER, Case
from kit.judge.sentences import count, percent, rounded_up
from kit.records import DatasetRecord, Int64Array, PredictionRecord
from kit.stats.clusters import ClusterSums, cluster_sums, design_effect
from kit.stats.proportions import Counts, PairedCounts, Successes
from kit.stats.special import normal_quantile, student_t_quantile

BoolArray = NDArray[np.bool_]

MOST_TIMES = 100
"""Beyond this many times the rows at hand, `more_rows` names no number."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Effective counts of some rows, with the raw figures that they come from."""

    counts: Counts
    rows: int
    clusters: int
    design_effect: float
    details: dict[str, float]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each row of the dataset came to. All arrays: [rows]."""

    cluster: Int64Array
    reference_right: BoolArray
    optimized_right: BoolArray
    decision_changed: BoolArray
    icc_floor: float

    def drop(self, mask: BoolArray | slice = slice(None)) -> Sample:
        """Reference right less optimized right over the rows of `mask` (at least one), as paired effective counts."""
        reference, optimized = self.reference_right[mask], self.optimized_right[mask]
        difference = reference.astype(np.float64) - optimized
        sums = cluster_sums(difference, self.cluster[mask], usual=0.0)
        effect = float(design_effect(sums, self.icc_floor))
        to_wrong, to_right = int((difference > 0).sum()), int((difference < 0).sum())
        counts = PairedCounts(to_wrong / effect, to_right / effect, len(difference) / effect, _df(sums))
        details = {
            "flips_to_wrong": float(to_wrong),
            "flips_to_right": float(to_right),
            "decisions_changed": float(self.decision_changed[mask].sum()),
            "reference_accuracy": float(reference.mean()),
            "optimized_accuracy": float(optimized.mean()),
        }
        return _sample(counts, sums, effect, details)

    def accuracy(self, right: BoolArray, mask: BoolArray | slice = slice(None)) -> Sample:
        """Share of `right` [rows] over the rows of `mask` (at least one), as effective counts."""
        values = right[mask].astype(np.float64)
        usual = float(values.mean() >= 0.5)
        sums = cluster_sums(values, self.cluster[mask], usual)
        effect = float(design_effect(sums, self.icc_floor))
        counts = Successes(float(values.sum()) / effect, len(values) / effect, _df(sums))
        return _sample(counts, sums, effect, {"right": float(values.sum())})


def _df(sums: ClusterSums) -> float:
    return float(max(1, len(sums.sizes) - 1))


def _sample(counts: Counts, sums: ClusterSums, effect: float, details: dict[str, float]) -> Sample:
    more = {"design_effect": effect, "effective_rows": counts.rows}
    return Sample(counts, int(sums.sizes.sum()), len(sums.sizes), effect, {**details, **more})


def outcomes(case: Case, optimized: PredictionRecord) -> Outcomes:
    """The rows of the case's dataset under the reference's predictions and `optimized`."""
    data, reference = case.evidence.dataset, case.evidence.reference_predictions
    return Outcomes(
        cluster=data.cluster,
        reference_right=reference.decisions == data.labels,
        optimized_right=optimized.decisions == data.labels,
        decision_changed=reference.decisions != optimized.decisions,
        icc_floor=case.profile.icc_floor,
    )


def slices(data: DatasetRecord, columns: tuple[str, ...]) -> list[tuple[str, BoolArray]]:
    """Every value of every column as ("column=value", rows [n]), in the order given; values without rows included."""
    return [
        (f"{column}={value}", np.asarray(data.columns[column].codes == code))
        for column in columns
        for code, value in enumerate(data.columns[column].values)
    ]


def too_small(case: Case, mask: BoolArray) -> str:
    """Why the rows of `mask` are too few to judge, as the end of a sentence; empty if they are enough."""
    data, asked = case.evidence.dataset, case.requirement
    rows, clusters = int(mask.sum()), len(np.unique(data.cluster[mask]))
    if rows < max(1, asked.minimum_rows):
        return f"{count(rows, 'row')}; minimum {asked.minimum_rows:,}"
    if clusters < max(2, asked.minimum_clusters):
        return f"{count(rows, 'row')} in only {count(clusters, _cluster(data))}; minimum {asked.minimum_clusters:,}"
    return ""


def _cluster(data: DatasetRecord) -> str:
    return data.cluster_column or "row"


def in_clusters(case: Case, sample: Sample) -> str:
    """ "of 2,008 rows in 56 recordings", or without clusters "of 2,008 rows"."""
    column = case.evidence.dataset.cluster_column
    where = f" in {count(sample.clusters, column)}" if column else ""
    return f"{count(sample.rows, 'row')}{where}"


def more_rows(case: Case, sample: Sample, limit: float) -> str:
    """How many more rows give a `POWER` chance of deciding, if the estimate holds (normal approximation)."""
    distance = abs(limit - sample.counts.estimate)
    if distance < 1e-9:
        return "the estimate lies at the limit: more rows alone may not decide"
    spread = distance * np.sqrt(sample.counts.rows) / max(abs(sample.counts.score(limit)), 1e-9)
    critical = student_t_quantile(case.confidence, sample.counts.df) + normal_quantile(POWER)
    total = sample.design_effect * (critical * spread / distance) ** 2
    if total > MOST_TIMES * sample.rows:
        return f"the estimate lies too near the limit: {MOST_TIMES} times these rows may not decide"
    more = max(float(total) - sample.rows, sample.rows / sample.clusters)
    column = case.evidence.dataset.cluster_column
    clusters = more * sample.clusters / sample.rows
    extra = f" (about {count(rounded_up(clusters), f'more {column}')})" if column else ""
    return f"about {count(rounded_up(more), 'more row')}{extra} ({percent(POWER)} chance of deciding, if it holds)"
