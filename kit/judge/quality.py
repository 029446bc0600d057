"""quality.value, quality.loss: any measure of the task, by itself or against the reference on the same rows."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided, unpredicted
from kit.judge.endless import assumption, held_back, own_losses
from kit.judge.rows import BoolArray, Sample, in_clusters, more_rows, too_small
from kit.judge.sentences import how, slice_name
from kit.judge.slices import by_slice
from kit.records import Finding, Float64Array, Int64Array, Verdict
from kit.spec.measures import MEASURES, MeasureRule
from kit.stats.influence import InfluenceCounts, Influences, RootCounts, influence_counts
from kit.task import MEASURES_BY_NAME, Losses, Measure, Rows, UndefinedError, ratio_of_sums, rows_of, worsening
from kit.task.bias import bias, bias_of_difference
from kit.words import count, interval, percent, quantity

METHOD = (
    "score bound of the mean influence under the likeliest distribution (Owen 2001; of shares Wilson's and Tango's), "
    "at effective counts, Student t over clusters"
)
FEW_MATTER = ("average-precision",)
"""Measures that rest on the rows looked for: no surer than a share of those."""

FEWEST = 20
"""Of fewer such rows there is no verdict: at 10 of 200 it passed wrongly in 6.7 % of 150 runs instead of 5 %."""

OWN = MeasureRule("the loss", "lower", "number", (), has_end=False)
"""A function of the user's: losses of a row, in a unit of its own."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Both models under one measure: figures on any rows, and the losses of every row, float64 [rows]."""

    name: str
    rule: MeasureRule
    least: float
    greatest: float
    reference: Rows | Losses
    optimized: Rows | Losses
    reference_losses: Float64Array
    optimized_losses: Float64Array
    weights: Float64Array

    def value(self, mask: BoolArray) -> Influences:
        """The optimized model's figure on the rows of `mask`. Raises UndefinedError."""
        return self._figure(self.optimized, mask)

    def loss(self, mask: BoolArray) -> tuple[Influences, dict[str, float]]:
        """By how much it is worse than the reference's, and the figures behind it. Raises UndefinedError."""
        before, after = self._figure(self.reference, mask), self._figure(self.optimized, mask)
        worse = (self.optimized_losses - self.reference_losses)[mask]
        higher = self.rule.better == "higher"
        details = {
            "reference_value": before.estimate,
            "optimized_value": after.estimate,
            "rows_worse": float((worse > 0).sum()),
            "rows_better": float((worse < 0).sum()),
        }
        return worsening(before, after, worse != 0, higher_is_better=higher), details

    def square(self, mask: BoolArray) -> Influences | None:
        """The square of the optimized model's figure on the rows of `mask`, where its bounds are the truer ones."""
        measure = MEASURES_BY_NAME.get(self.name)
        if measure is None or measure.square is None or not isinstance(self.optimized, Rows):
            return None
        return measure.square(self.optimized if mask.all() else self.optimized.take(mask))

    def bias(self, mask: BoolArray, cluster: Int64Array) -> float:
        """By how much the optimized model's figure on the rows of `mask` is too high on average."""
        measure = MEASURES_BY_NAME.get(self.name)
        if measure is None or not measure.is_biased or not isinstance(self.optimized, Rows):
            return 0.0
        return bias(measure, self.optimized.take(mask), cluster)

    def bias_of_loss(self, mask: BoolArray, cluster: Int64Array) -> float:
        """By how much the loss on the rows of `mask` may be off on average; too low counts first."""
        measure = MEASURES_BY_NAME.get(self.name)
        if measure is None or not measure.is_biased:
            return 0.0
        assert isinstance(self.optimized, Rows)
        assert isinstance(self.reference, Rows)
        pair = (self.optimized.take(mask), self.reference.take(mask))
        after, before = pair if self.rule.better == "lower" else pair[::-1]
        return bias_of_difference(measure, after, before, cluster)

    def _figure(self, of: Rows | Losses, mask: BoolArray) -> Influences:
        if isinstance(of, Rows):
            return MEASURES_BY_NAME[self.name].of(of if mask.all() else of.take(mask))
        sizes = None if of.sizes is None else of.sizes[mask]
        return ratio_of_sums(Losses(of.losses[mask], sizes, of.low, of.high), self.weights[mask])


def judge_quality(case: Case) -> tuple[Finding, ...]:
    """The measure on the device, or by how much it is worse than the reference's, whole or by slice."""
    predictions = case.variant.predictions
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, unit_of(case), *unpredicted(case)),)
    try:
        compared = _compared(case)
    except UndefinedError as error:
        return (absent(case, unit_of(case), f"{error.what}.", error.next_step or "name another measure"),)
    if case.requirement.by or case.requirement.slices:
        return by_slice(case, lambda subject, mask: _finding(case, compared, subject, mask))
    everything = np.ones(case.evidence.dataset.rows, dtype=np.bool_)
    found, _ = _finding(case, compared, "", everything)
    if small := too_small(case, everything):
        return (undecided(found, f"too few rows to judge: {small}.", "more rows, from more clusters"),)
    return (certifying(case, found),)


def unit_of(case: Case) -> str:
    """Unit of the requirement's figure: "share" or "points"; of a number in the target's own unit, none."""
    rule = MEASURES.get(case.requirement.measure, OWN)
    if rule.kind == "number":
        return "1"
    return "points" if case.requirement.metric == "quality.loss" else "share"


def _compared(case: Case) -> Compared:
    """Both models' rows under the requirement's measure. Raises UndefinedError where there is no such figure."""
    name, data = case.requirement.measure, case.evidence.dataset
    weights = np.ones(data.rows) if data.weights is None else data.weights
    measure, rule = MEASURES_BY_NAME.get(name), MEASURES.get(name, OWN)
    if measure is None:
        before, after = case.evidence.reference_losses.get(name), case.variant.losses.get(name)
        if before is None or after is None:
            raise UndefinedError(f"the losses by {name} were not obtained", next_step="run the command again")
        one, other = (own_losses(each, case.requirement.largest) for each in (before, after))
        return Compared(name, rule, -np.inf, np.inf, one, other, one.losses, other.losses, weights)
    if data.task not in rule.tasks:
        known = ", ".join(each for each, of in MEASURES.items() if data.task in of.tasks)
        raise UndefinedError(f"{name} is no measure of the task {data.task}", next_step=f"name one of {known}")
    return _of_rows(case, name, measure, rule, weights)


def _of_rows(case: Case, name: str, measure: Measure, rule: MeasureRule, weights: Float64Array) -> Compared:
    data, reference, optimized = case.evidence.dataset, case.evidence.reference_predictions, case.variant.predictions
    assert optimized is not None
    asked = case.requirement
    before, after = (rows_of(data, each, reference, asked.positive, asked.largest) for each in (reference, optimized))
    losses = measure.losses(before).losses, measure.losses(after).losses
    return Compared(name, rule, *measure.range, before, after, *losses, weights)


def _finding(case: Case, compared: Compared, subject: str, mask: BoolArray) -> tuple[Finding, Sample]:
    """The finding on the rows of `mask` before any correction for several slices, and its counts."""
    is_loss, cluster = case.requirement.metric == "quality.loss", case.evidence.dataset.cluster[mask]
    clusters = len(np.unique(cluster))
    try:
        influences, details = compared.loss(mask) if is_loss else (compared.value(mask), {})
    except UndefinedError as error:
        who = slice_name(subject) or "the whole dataset"
        reason = f"NOT TESTED: {compared.name} is not defined on {who}: {error.what}."
        found = absent(case, unit_of(case), reason, "rows on which it is defined", subject)
        return found, Sample(_Nothing(), len(cluster), clusters, 1.0, {})
    counts, effect = (_loss_counts if is_loss else _value_counts)(case, compared, influences, mask)
    lower, upper = counts.bounds(case.confidence)
    details |= {"design_effect": effect, "effective_rows": counts.rows}
    sample = Sample(counts, len(cluster), clusters, effect, details)
    predictions = case.variant.predictions
    assert predictions is not None
    method = METHOD + assumption(case, compared.name)
    measured = Measured(
        counts.estimate, lower, upper, unit_of(case), method, sample.rows, predictions.obtained, sample.clusters,
        case.digests(predictions, case.evidence.reference_predictions), details,
    )  # fmt: skip
    found = finding(case, measured, subject=subject)
    sentence = _loss_sentence if is_loss else _value_sentence
    found = explained(found, sentence(case, compared, found, sample), more_rows(case, sample, found.limit))
    fewest = _fewest(influences)
    if compared.name in FEW_MATTER and fewest < FEWEST:
        who = slice_name(subject) or "the dataset"
        reason = f"NOT TESTED: {who} has {count(fewest, 'row')} that {compared.name} rests on; minimum {FEWEST}."
        return undecided(found, reason, "more rows of the class that is looked for"), sample
    return held_back(case, found, compared.name, mask), sample


def _fewest(influences: Influences) -> int:
    """Rows of the smallest part that the figure cannot do without; all of them where there is none."""
    return min((int(part.sum()) for part in influences.parts), default=len(influences.values))


Counted = tuple[InfluenceCounts | RootCounts, float]
"""Counts and the design effect."""


def _loss_counts(case: Case, compared: Compared, influences: Influences, mask: BoolArray) -> Counted:
    cluster, width = case.evidence.dataset.cluster[mask], compared.greatest - compared.least
    counts, effect = influence_counts(influences, cluster, case.profile.icc_floor, -width, width)
    return replace(counts, bias=compared.bias_of_loss(mask, cluster)), effect


def _value_counts(case: Case, compared: Compared, influences: Influences, mask: BoolArray) -> Counted:
    cluster, floor = case.evidence.dataset.cluster[mask], case.profile.icc_floor
    if (square := compared.square(mask)) is not None:
        counts, effect = influence_counts(square, cluster, floor, compared.least**2, compared.greatest**2)
        return RootCounts(counts), effect
    counts, effect = influence_counts(influences, cluster, floor, compared.least, compared.greatest)
    counts = replace(counts, bias=compared.bias(mask, cluster))
    if compared.name in FEW_MATTER:
        share = _fewest(influences) / len(cluster)
        counts = replace(counts, share_rows=max(1.0, share * counts.rows))
    return counts, effect


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Counts of rows on which a measure has no value: they speak for nothing."""

    estimate: float = 0.0
    rows: float = 1.0
    df: float = 1.0

    def score(self, value: float) -> float:
        """Nothing for or against any value."""
        return 0.0 * value

    def bounds(self, confidence: float) -> tuple[float, float]:
        """No bound."""
        return -np.inf * confidence, np.inf * confidence


def _who(compared: Compared, subject: str) -> str:
    """ "the area under the ROC curve", "exercise: row, the area under the ROC curve"."""
    name = compared.rule.subject.replace("an ", "the ", 1) if compared.rule.subject[:3] == "an " else ""
    name = name or compared.rule.subject.replace("a ", "the ", 1)
    name = f"the loss by {compared.name}" if compared.rule is OWN else name
    return f"{slice_name(subject)}, {name}" if subject else name


def _loss_sentence(case: Case, compared: Compared, found: Finding, sample: Sample) -> str:
    assert found.estimate is not None
    assert found.upper is not None
    unit: Literal["share", "1"] = "share" if found.unit == "points" else "1"
    went = (
        f"{_who(compared, found.subject)} went from {quantity(found.details['reference_value'], unit)} to "
        f"{quantity(found.details['optimized_value'], unit)}{how(found.obtained)}"
    )
    rows = (
        f"{count(sample.details['rows_worse'], 'row')} got worse and {sample.details['rows_better']:,.0f} better "
        f"of {in_clusters(case, sample)}"
    )
    allowed = f"allowed {quantity(found.limit, found.unit)}"
    if found.verdict is Verdict.PASS:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        bound = f"worse by at most {quantity(found.upper, found.unit)}" if found.upper > 0 else "not worse"
        return f"{went}: {bound} {end}; {allowed}; {rows}."
    ends = interval(found.lower, found.upper, found.unit)
    return f"{went}: worse by {quantity(found.estimate, found.unit)} {ends}; {allowed}; {rows}."


def _value_sentence(case: Case, compared: Compared, found: Finding, sample: Sample) -> str:
    assert found.estimate is not None
    value, ends = quantity(found.estimate, found.unit), interval(found.lower, found.upper, found.unit)
    limit = f"limit {quantity(found.limit, found.unit)}"
    of = in_clusters(case, sample)
    return f"{_who(compared, found.subject)} is {value}{how(found.obtained)} {ends} of {of}; {limit}."
