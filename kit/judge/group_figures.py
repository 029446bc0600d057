"""What groups are compared in: the figures of every group that a fairness measure compares, before and after."""

from dataclasses import replace

import numpy as np

from kit.fairness.groups import Groups
from kit.fairness.parts import Answers, GroupFigures, Part, by_group, calibration_part, figures_of, rate_part
from kit.fairness.rates import PARTS
from kit.judge.base import Case
from kit.judge.endless import own_losses
from kit.records import Float64Array, Int64Array, PredictionRecord
from kit.spec.measures import MEASURES
from kit.stats.influence import InfluenceCounts, Influences
from kit.task import MEASURES_BY_NAME, Losses, Rows, UndefinedError, ratio_of_sums, rows_of, worsening
from kit.task.bias import bias_of_difference, bias_range
from kit.task.decisions import is_right
from kit.task.scores import decided, looked_for, probabilities

OF_RIGHT = ("accuracy", "error-rate")


def parts_of(case: Case, optimized: PredictionRecord, measure: str, groups: Groups) -> tuple[Part, ...]:
    """Every figure that `measure` compares between `groups`: the worst of them counts.

    Measures of decisions take one class against the rest: the positive one; of more than two each in turn, unless the
    requirement names one. Raises UndefinedError where the task or the records have no such figure.
    """
    data, reference = case.evidence.dataset, case.evidence.reference_predictions
    asked = case.requirement
    both = [rows_of(data, each, reference, asked.positive, asked.largest) for each in (reference, optimized)]
    if measure in OF_RIGHT:
        right = [is_right(rows).astype(np.int64) for rows in both]
        return (rate_part(_answers(case, np.ones_like(right[0]), right[0], right[1]), groups, measure, 1),)
    if measure == "calibration":
        return _calibration(case, both, groups)
    if measure not in PARTS:
        return (_measured(case, measure, both, groups),)
    answers = _answers(case, data.labels, *(np.asarray(decided(rows)) for rows in both))
    return tuple(
        rate_part(answers, groups, rate, index, data.classes[index])
        for index in looked_for(both[0])
        for rate in PARTS[measure]
    )


def _answers(case: Case, label: Int64Array, reference: Int64Array, optimized: Int64Array) -> Answers:
    data = case.evidence.dataset
    cluster = None if data.cluster_column is None else data.cluster
    return Answers(label, reference, optimized, cluster, data.weights, case.profile.icc_floor)


def _calibration(case: Case, both: list[Rows], groups: Groups) -> tuple[Part, ...]:
    scores = [probabilities(rows) for rows in both]
    labels = case.evidence.dataset.labels
    answers = _answers(case, labels, labels, labels)
    return tuple(
        calibration_part(answers, groups, index, both[0].classes[index], [side[:, index] for side in scores])
        for index in looked_for(both[0])
    )


def _measured(case: Case, measure: str, both: list[Rows], groups: Groups) -> Part:
    """Any measure of the task, or the user's own, on every group: a gap of the quality of service."""
    labels = case.evidence.dataset.labels
    answers = _answers(case, labels, labels, labels)
    figure = _Own(case, measure) if measure not in MEASURES_BY_NAME else _Known(measure, both)
    figures = tuple(_group(figure, answers, rows) for rows in by_group(groups))
    return Part(measure, "", figures, figure.range[1] - figure.range[0], is_signed=figure.range[0] < 0)


class _Known:
    """A measure of `kit.task`, on some rows of either side."""

    def __init__(self, measure: str, both: list[Rows]) -> None:
        if both[0].task not in MEASURES[measure].tasks:
            raise UndefinedError(f"{measure} is no measure of the task {both[0].task}")
        self.measure, self._both = MEASURES_BY_NAME[measure], both
        self.range = self.measure.range
        self.losses = [self.measure.losses(rows).losses for rows in both]

    def __call__(self, side: int, rows: Int64Array) -> Influences:
        return self.measure.of(self.rows(side, rows))

    def rows(self, side: int, rows: Int64Array) -> Rows:
        """Those rows of that side."""
        mask = np.zeros(len(self._both[side]), dtype=np.bool_)
        mask[rows] = True
        return self._both[side].take(mask)


class _Own:
    """Losses of a user's own function, which were kept."""

    def __init__(self, case: Case, measure: str) -> None:
        before, after = case.evidence.reference_losses.get(measure), case.variant.losses.get(measure)
        if before is None or after is None:
            raise UndefinedError(f"the losses by {measure} were not obtained")
        self._sides = [own_losses(each, case.requirement.largest) for each in (before, after)]
        data = case.evidence.dataset
        self._weights = np.ones(data.rows) if data.weights is None else data.weights
        low, high = self._sides[0].low, self._sides[0].high
        self.range = (-np.inf if low is None else low, np.inf if high is None else high)
        self.losses: list[Float64Array] = [each.losses for each in self._sides]

    def __call__(self, side: int, rows: Int64Array) -> Influences:
        of = self._sides[side]
        sizes = None if of.sizes is None else of.sizes[rows]
        return ratio_of_sums(Losses(of.losses[rows], sizes, of.low, of.high), self._weights[rows])


def _group(figure: _Known | _Own, answers: Answers, rows: Int64Array) -> GroupFigures | None:
    """None where the measure has no value on the group's rows: an AUC without positives."""
    if not len(rows):
        return None
    try:
        before, after = figure(0, rows), figure(1, rows)
    except UndefinedError:
        return None
    changed = figure.losses[0][rows] != figure.losses[1][rows]
    change = worsening(before, after, changed, higher_is_better=False)
    width = figure.range[1] - figure.range[0]
    found = figures_of(answers, rows, before, after, change, figure.range, (-width, width))
    return _corrected(figure, found, answers, rows) if isinstance(figure, _Known) else found


def _corrected(figure: _Known, of: GroupFigures, answers: Answers, rows: Int64Array) -> GroupFigures:
    """With the bias of a figure that is off in small groups: what raises a small group hides a gap."""
    measure = figure.measure
    if not measure.is_biased:
        return of
    before, after = (figure.rows(side, rows) for side in (0, 1))
    cluster = rows if answers.cluster is None else answers.cluster[rows]
    off = [bias_range(measure, each, cluster)[1] for each in (before, after)]
    moved = bias_of_difference(measure, after, before, cluster)
    counts = zip((of.before, of.after, of.change), (*off, moved), strict=True)
    was, became, change = (replace(each, bias=by) for each, by in counts if isinstance(each, InfluenceCounts))
    return replace(of, before=was, after=became, change=change)
