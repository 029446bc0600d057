"""The rows of a case, what they came to, and what more of them would decide."""

import numpy as np

from kit.judge.base import POWER, Case
from kit.records import DatasetRecord, PredictionRecord
from kit.slicing.declared import sliced
from kit.spec.measures import MEASURES
from kit.stats.outcomes import BoolArray as BoolArray
from kit.stats.outcomes import Outcomes as Outcomes
from kit.stats.outcomes import Sample as Sample
from kit.stats.simultaneous import critical_values
from kit.stats.special import normal_quantile
from kit.task import rows_of
from kit.task.decisions import is_changed, is_right
from kit.words import count, percent, rounded_up

MOST_TIMES = 100
"""Beyond this many times the rows at hand, `more_rows` names no number."""


FEW_CLUSTERS = 10
"""Of fewer, a sentence says that they are few: Student's t over them makes the interval wide."""


def outcomes(case: Case, optimized: PredictionRecord) -> Outcomes:
    """The rows of the case's dataset under the reference's predictions and `optimized`.

    Raises UndefinedError for a task whose answers are neither right nor wrong.
    """
    data, reference = case.evidence.dataset, case.evidence.reference_predictions
    before, after = rows_of(data, reference, reference), rows_of(data, optimized, reference)
    return Outcomes(
        cluster=data.cluster,
        reference_right=is_right(before),
        optimized_right=is_right(after),
        decision_changed=is_changed(before, after),
        icc_floor=case.profile.icc_floor,
        weights=data.weights,
    )


def measures_instead(case: Case) -> str:
    """What to require of a task that makes no decisions."""
    task = case.evidence.dataset.task
    names = [name for name, rule in MEASURES.items() if task in rule.tasks]
    return f"require quality.loss or quality.value with measure = {' or '.join(names)}"


def slices(data: DatasetRecord, columns: tuple[str, ...]) -> list[tuple[str, BoolArray]]:
    """Every value of every column as ("column=value", rows [n]), in the order given; values without rows included.

    Raises SpecError: a column that the data does not have, or one of numbers (see `kit.slicing.declared`).
    """
    return list(sliced(data, columns).masks())


def too_small(case: Case, mask: BoolArray) -> str:
    """Why the rows of `mask` are too few to judge, as the end of a sentence; empty if they are enough."""
    return too_few(case, int(mask.sum()), len(np.unique(case.evidence.dataset.cluster[mask])))


def too_few(case: Case, rows: int, clusters: int) -> str:
    """Why so many rows of so many clusters are too few to judge, as the end of a sentence; empty if they are enough."""
    asked = case.requirement
    if rows < max(1, asked.minimum_rows):
        return f"{count(rows, 'row')}; minimum {asked.minimum_rows:,}"
    if clusters < max(2, asked.minimum_clusters):
        of = count(clusters, _cluster(case.evidence.dataset))
        return f"{count(rows, 'row')} in only {of}; minimum {asked.minimum_clusters:,}"
    return ""


def _cluster(data: DatasetRecord) -> str:
    return data.cluster_column or "row"


def in_clusters(case: Case, sample: Sample) -> str:
    """ "2,008 rows in 56 recordings", few of them as "in only 8 recordings", or without clusters "2,008 rows"."""
    column = case.evidence.dataset.cluster_column
    only = "only " if sample.clusters < FEW_CLUSTERS else ""
    where = f" in {only}{count(sample.clusters, column)}" if column else ""
    return f"{count(sample.rows, 'row')}{where}"


def more_rows(case: Case, sample: Sample, limit: float) -> str:
    """How many more rows give a `POWER` chance of deciding, if the estimate holds (normal approximation)."""
    distance = abs(limit - sample.counts.estimate)
    if distance < 1e-9:
        return "the estimate lies at the limit: more rows alone may not decide"
    spread = distance * np.sqrt(sample.counts.rows) / max(abs(sample.counts.score(limit)), 1e-9)
    critical = float(critical_values(case.confidence, np.array([sample.counts.df]))[0]) + normal_quantile(POWER)
    total = sample.design_effect * (critical * spread / distance) ** 2
    if total > MOST_TIMES * sample.rows:
        return f"the estimate lies too near the limit: {MOST_TIMES} times these rows may not decide"
    more = max(float(total) - sample.rows, sample.rows / sample.clusters)
    column = case.evidence.dataset.cluster_column
    clusters = more * sample.clusters / sample.rows
    extra = f" (about {count(rounded_up(clusters), f'more {column}')})" if column else ""
    return f"about {count(rounded_up(more), 'more row')}{extra} ({percent(POWER)} chance of deciding, if it holds)"
