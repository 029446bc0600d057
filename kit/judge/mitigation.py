"""What could be done without retraining, and what it would cost: thresholds by group, recalibration, another variant.

Nothing here changes a verdict: certified is what ran. What has to be fitted is fitted on one half of the dataset's
clusters and told from the other, so that no figure is of rows that it was fitted on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.fairness.halves import fitting_half
from kit.fairness.jackknife import jackknife
from kit.fairness.paired import CRITERIA, Figure, Rows, change_of_share, gap, gap_change
from kit.fairness.recalibration import BINS, Isotonic, Temperature, brier, fit_isotonic, fit_temperature, probabilities
from kit.fairness.thresholds import THRESHOLD_CRITERIA, Criterion, Thresholds, fit_thresholds
from kit.judge.front import CONFIDENCE, criterion_of, front, rows_by
from kit.judge.sentences import count, fixed, interval, number, percent, quantity
from kit.records import Evidence, Float64Array, Int64Array, Obtained, PredictionRecord, VariantEvidence
from kit.spec.types import Profile, Requirement

LAW = (
    "It uses people's groups when it decides: in some places and fields that is unlawful even where it narrows a gap. "
    "People with the same score are decided differently by their group."
)
LOTS = "It draws lots: two people of one group with the same score may be decided differently."
LEAST_ROWS = 100
"""Rows in a half below which nothing is fitted."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after a mitigation on the same rows; `change` with its bounds, None where there are none."""

    what: str
    unit: Literal["points", "share", "number"]
    before: float
    after: float
    change: Figure | None


@dataclass(frozen=True, slots=True)
class Mitigation:
    """One thing that could be done. changes: empty where it cannot be tried, and `sentence` says why.

    rule: what was fitted, by name (a group's threshold, a temperature). caution: what speaks against it.
    """

    kind: Literal["thresholds", "recalibration", "variant"]
    name: str
    changes: tuple[Change, ...]
    rule: tuple[tuple[str, float], ...]
    fitted_rows: int
    judged_rows: int
    obtained: Obtained
    method: str
    sentence: str
    caution: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    """A variant's predictions with the run they belong to, and which rows a mitigation is fitted on."""

    evidence: Evidence
    variant: VariantEvidence
    profile: Profile
    found: PredictionRecord
    fitting: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def seed(self) -> int:
        return self.profile.measure.seed


def mitigations(evidence: Evidence, variant: VariantEvidence, profile: Profile) -> tuple[Mitigation, ...]:
    """Everything that can be tried on `variant` without retraining, each with its figures before and after.

    Thresholds by group: for two classes, over the column of the profile's first fairness requirement or the dataset's
    first sensitive column. Recalibration: for scores that are probabilities or logits. Another variant: those that
    another does not surely dominate. Equal arguments give equal answers.
    """
    found, data = variant.predictions, evidence.dataset
    is_classified = data.task == "classification" and data.targets is None and len(data.classes) > 1
    if found is None or found.obtained == "absent" or not is_classified or len(found.decisions) != data.rows:
        return ()
    given = _Given(evidence, variant, profile, found, fitting_half(data.cluster, profile.measure.seed))
    return (*_thresholds(given), *_recalibrations(given), *_variants(given))


def _asked(profile: Profile) -> Requirement | None:
    return next((each for each in profile.requirements if each.metric.startswith("fairness.")), None)


def _column(given: _Given) -> str | None:
    data, asked = given.evidence.dataset, _asked(given.profile)
    columns = (asked.by if asked is not None else ()) or data.sensitive
    return next((name for name in columns if name in data.columns), None)


def _thresholds(given: _Given) -> tuple[Mitigation, ...]:
    data, column = given.evidence.dataset, _column(given)
    if column is None or len(data.classes) != 2 or given.found.scores.shape != (data.rows, 2):
        return ()
    rows = rows_by(given.evidence, given.profile, data.columns[column], _asked(given.profile))
    score = given.found.scores[:, rows.positive].astype(np.float64) - given.found.scores[:, 1 - rows.positive]
    names = [data.columns[column].values[code] for code in np.unique(data.columns[column].codes)]
    return tuple(_threshold(given, rows, score, names, column, each) for each in THRESHOLD_CRITERIA)


def _threshold(
    given: _Given, rows: Rows, score: Float64Array, names: list[str], column: str, criterion: Criterion
) -> Mitigation:
    name, half, kept = f"thresholds by {column} for {criterion}", given.fitting, ~given.fitting
    if why := _why_not(given, rows, score):
        return _not_tried(given, "thresholds", name, f"{name} cannot be tried: {why}.", LAW)
    wanted = (rows.labels == rows.positive).astype(np.int64)
    fitted = fit_thresholds(score[half], wanted[half], rows.group[half], rows.groups, criterion)
    chosen = fitted.decide(score[kept], rows.group[kept], given.seed)
    after = np.where(chosen == 1, rows.positive, 1 - rows.positive)
    judged, before = rows.taken(kept), given.found.decisions[kept]
    changes = [_gap_of(judged, criterion, before, after), *_own_gap(given, judged, criterion, before, after)]
    changes.append(_accuracy_of(judged, before, after))
    lots = any(rule.draws_lots for rule in fitted.rules)
    return _tried(given, "thresholds", name, changes, _told(fitted, names), f"{LAW} {LOTS}" if lots else LAW)


def _why_not(given: _Given, rows: Rows, score: Float64Array) -> str:
    """Why thresholds cannot be fitted and judged; empty where they can."""
    if not np.isfinite(score).all():
        return "scores are not all finite"
    if rows.groups < 2:
        return "there is only one group"
    for half, use in ((given.fitting, "fitted"), (~given.fitting, "judged")):
        if int(half.sum()) < LEAST_ROWS:
            return f"{count(int(half.sum()), 'row')} to be {use} on, at least {LEAST_ROWS} are needed"
        wanted = rows.labels[half] == rows.positive
        for each in (wanted, ~wanted):
            if len(np.unique(rows.group[half][each])) < rows.groups:
                return f"a group has no row of one of the classes among those to be {use} on"
    return ""


def _told(fitted: Thresholds, names: list[str]) -> tuple[tuple[str, float], ...]:
    """Each group's thresholds of the score difference; infinite ones, which take none or all, are left out."""
    told = list[tuple[str, float]]()
    for name, rule in zip(names, fitted.rules, strict=True):
        parts = {"above": rule.high if rule.mix == 0.0 else rule.low}
        if rule.draws_lots:
            parts = {"surely above": rule.high, "perhaps above": rule.low, "chance": rule.mix, "by lot": rule.by_lot}
        told += [(f"{name}: {what}", value) for what, value in parts.items() if np.isfinite(value)]
    return tuple(told)


def _gap_of(rows: Rows, criterion: str, before: Int64Array, after: Int64Array) -> Change:
    first, second = gap(rows, criterion, before, CONFIDENCE), gap(rows, criterion, after, CONFIDENCE)
    assert first is not None
    assert second is not None
    change = gap_change(rows, criterion, before, after, CONFIDENCE)
    return Change(f"gap, {criterion}", "points", first.estimate, second.estimate, change)


def _own_gap(given: _Given, rows: Rows, criterion: str, before: Int64Array, after: Int64Array) -> list[Change]:
    """The gap that the profile asks about, where that is another one."""
    own = criterion_of(_asked(given.profile))
    return [_gap_of(rows, own, before, after)] if own != criterion and own in CRITERIA else []


def _accuracy_of(rows: Rows, before: Int64Array, after: Int64Array) -> Change:
    first, second = before == rows.labels, after == rows.labels
    change = change_of_share(rows, first, second, CONFIDENCE)
    return Change("accuracy", "points", float(first.mean()), float(second.mean()), change)


def _recalibrations(given: _Given) -> tuple[Mitigation, ...]:
    data, found = given.evidence.dataset, given.found
    chances = probabilities(found.scores, data.scores.kind)
    if chances is None or chances.shape != (data.rows, len(data.classes)):
        return ()
    half = given.fitting
    fits = ("temperature scaling", fit_temperature), ("isotonic regression", fit_isotonic)
    if min(int(half.sum()), int((~half).sum())) < LEAST_ROWS:
        why = (
            f"cannot be tried: halves of at least {LEAST_ROWS} rows are needed, and {count(data.rows, 'row')} are there"
        )
        return tuple(_not_tried(given, "recalibration", name, f"{name} {why}.", "") for name, _ in fits)
    return tuple(_recalibration(given, chances, name, fit(chances[half], data.labels[half])) for name, fit in fits)


def _recalibration(given: _Given, chances: Float64Array, name: str, fitted: Temperature | Isotonic) -> Mitigation:
    data, kept = given.evidence.dataset, ~given.fitting
    labels, cluster = data.labels[kept], data.cluster[kept]
    before, after = chances[kept], fitted.applied(chances[kept])
    decided, now = given.found.decisions[kept], after.argmax(axis=1)
    if isinstance(fitted, Temperature):
        now = decided  # what divides all logits changes no decision: rounding alone could
    rows = Rows(labels, cluster, np.zeros(len(labels), np.int64), 1, 0, given.profile.icc_floor)
    reference = given.evidence.reference_predictions.decisions[kept]
    first, second = decided != reference, now != reference
    flips = change_of_share(rows, first, second, CONFIDENCE)
    changes = [
        _brier_of(before, after, labels, cluster, given.seed),
        _error_of(before, after, labels, cluster, given.seed),
        Change("decisions unlike the reference's", "share", float(first.mean()), float(second.mean()), flips),
        _accuracy_of(rows, decided, now),
    ]
    rule = (("temperature", fitted.value),) if isinstance(fitted, Temperature) else ()
    return _tried(given, "recalibration", name, changes, rule, "")


def _brier_of(before: Float64Array, after: Float64Array, labels: Int64Array, cluster: Int64Array, seed: int) -> Change:
    first, second = brier(before, labels), brier(after, labels)
    parts = np.stack([second - first, np.ones(len(labels))], axis=1)
    change = jackknife(parts, cluster, lambda sums: float(sums[0] / sums[1]), CONFIDENCE, seed)
    return Change("Brier score", "number", float(first.mean()), float(second.mean()), change)


def _error_of(before: Float64Array, after: Float64Array, labels: Int64Array, cluster: Int64Array, seed: int) -> Change:
    """The expected calibration error, from the sums of each row's distance by bin, before and after side by side."""
    parts = np.concatenate([_by_bin(before, labels), _by_bin(after, labels), np.ones((len(labels), 1))], axis=1)

    def error(sums: Float64Array, first: int) -> float:
        return float(np.abs(sums[first : first + BINS]).sum() / sums[-1])

    whole = parts.sum(axis=0)
    change = jackknife(parts, cluster, lambda sums: error(sums, BINS) - error(sums, 0), CONFIDENCE, seed)
    return Change("calibration error", "points", error(whole, 0), error(whole, BINS), change)


def _by_bin(chances: Float64Array, labels: Int64Array) -> Float64Array:
    """Right less confidence of each row in the column of its bin of confidence: float64 [n, BINS]."""
    confidence = chances.max(axis=1)
    table = np.zeros((len(labels), BINS))
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    table[np.arange(len(labels)), place] = (chances.argmax(axis=1) == labels) - confidence
    return table


def _variants(given: _Given) -> tuple[Mitigation, ...]:
    """Other variants that are not surely dominated, with their figures against this one's on all rows."""
    found, own = front(given.evidence, None, given.profile), given.variant.variant.recipe.name
    if found is None:
        return ()
    there = {each.variant.recipe.name: each for each in given.evidence.variants}
    names = [
        point.variant for point in found.points if point.standing in ("front", "doubtful") and point.variant != own
    ]
    return tuple(_variant(given, there[name]) for name in names)


def _variant(given: _Given, other: VariantEvidence) -> Mitigation:
    data, name, column = given.evidence.dataset, other.variant.recipe.name, _column(given)
    assert other.predictions is not None
    before, after = given.found.decisions, other.predictions.decisions
    rows = Rows(data.labels, data.cluster, np.zeros(data.rows, np.int64), 1, 0, given.profile.icc_floor)
    changes = [_accuracy_of(rows, before, after)]
    criterion = criterion_of(_asked(given.profile))
    if column is not None and criterion in CRITERIA:
        grouped = rows_by(given.evidence, given.profile, data.columns[column], _asked(given.profile))
        if gap(grouped, criterion, before, CONFIDENCE) is not None:
            changes.insert(0, _gap_of(grouped, criterion, before, after))
    sizes = float(given.variant.variant.model.size_bytes), float(other.variant.model.size_bytes)
    made = _tried(given, "variant", name, changes, (), "")
    more = f" Its file has {quantity(sizes[1], 'B')}, this one's {quantity(sizes[0], 'B')}."
    return Mitigation("variant", name, made.changes, (), 0, data.rows, other.predictions.obtained,
                      "both variants on all rows, nothing is fitted", made.sentence + more)  # fmt: skip


def _tried(
    given: _Given, kind: Literal["thresholds", "recalibration", "variant"], name: str, changes: list[Change],
    rule: tuple[tuple[str, float], ...], caution: str,
) -> Mitigation:  # fmt: skip
    fitted = int(given.fitting.sum())
    method = (
        f"fitted on {count(fitted, 'row')} and judged on {count(len(given.fitting) - fitted, 'other row')}, whole "
        f"clusters each, seed {given.seed}; each bound at {percent(CONFIDENCE)}"
    )
    told = "; ".join(_words(each) for each in changes)
    return Mitigation(kind, name, tuple(changes), rule, fitted, len(given.fitting) - fitted, given.found.obtained,
                      method, f"{name[:1].upper()}{name[1:]}: {told}.", caution)  # fmt: skip


def _not_tried(
    given: _Given, kind: Literal["thresholds", "recalibration"], name: str, why: str, caution: str
) -> Mitigation:
    return Mitigation(kind, name, (), (), 0, 0, given.found.obtained, "not tried", why[:1].upper() + why[1:], caution)


def _words(each: Change) -> str:
    """ "accuracy 84.1 % to 83.9 %, −0.2 points [−0.9, +0.5]"."""
    if each.unit == "number":
        told, change = f"{each.what} {number(each.before, 3)} to {number(each.after, 3)}", each.change
        ends = [] if change is None else [number(end, 2) for end in (change.lower, change.upper)]
        return f"{told}, a change of {number(change.estimate, 2)} [{', '.join(ends)}]" if change is not None else told
    told = f"{each.what} {quantity(each.before, 'share')} to {quantity(each.after, 'share')}"
    if each.change is None:
        return told
    ends_text = interval(each.change.lower, each.change.upper, "points")
    return f"{told}, {fixed(100 * each.change.estimate)} points {ends_text}"
