"""Recalibration as a mitigation: Brier score, calibration error, decisions and accuracy, before and after."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from kit.fairness.jackknife import jackknife
from kit.fairness.paired import Figure
from kit.judge.front import CONFIDENCE, all_rows
from kit.judge.mitigation_base import LEAST_ROWS, Change, Given, Mitigation, accuracy_of, not_tried, share_of, tried
from kit.records import Float64Array, Int64Array
from kit.task.base import Rows, UndefinedError, rows_of
from kit.task.classify import BINS, bin_of, brier, confidences
from kit.task.recalibration import Isotonic, Temperature, fit_isotonic, fit_temperature
from kit.task.scores import probabilities
from kit.words import count


def recalibrations(given: Given) -> tuple[Mitigation, ...]:
    """Temperature scaling and isotonic regression; none where scores are no probabilities and no logits."""
    data = given.evidence.dataset
    rows = rows_of(data, given.found, given.evidence.reference_predictions)
    try:
        chances = probabilities(rows)
    except UndefinedError:
        return ()
    if len(data.classes) < 2 or chances.shape != (data.rows, len(data.classes)) or not np.isfinite(chances).all():
        return ()
    half = given.fitting
    fits = ("temperature scaling", fit_temperature), ("isotonic regression", fit_isotonic)
    if min(int(half.sum()), int((~half).sum())) < LEAST_ROWS:
        there = f"{count(data.rows, 'row')} in {count(len(np.unique(data.cluster)), 'cluster')}"
        why = f"cannot be tried: halves of at least {LEAST_ROWS} rows are needed, and there are {there}"
        return tuple(not_tried(given, "recalibration", name, f"{name} {why}.", "") for name, _ in fits)
    kept = rows.take(~half)
    return tuple(
        _recalibration(given, kept, chances[~half], name, fit(chances[half], data.labels[half])) for name, fit in fits
    )


def _recalibration(
    given: Given, before: Rows, chances: Float64Array, name: str, fitted: Temperature | Isotonic
) -> Mitigation:
    kept, new = ~given.fitting, fitted.applied(chances)
    now = new.argmax(axis=1)
    if isinstance(fitted, Temperature):
        now = before.decisions  # what divides all logits changes no decision: rounding alone could
    rule = replace(before.rule, kind="probabilities")
    after = replace(before, scores=new.astype(np.float32), decisions=now, rule=rule)
    cluster = given.evidence.dataset.cluster[kept]
    rows = all_rows(given.evidence, given.profile).taken(kept)
    reference = given.evidence.reference_predictions.decisions[kept]
    changes = [
        _brier_of(before, after, cluster, given.seed),
        _error_of(before, after, cluster, given.seed),
        share_of("decisions unlike the reference's", rows, before.decisions != reference, now != reference),
        accuracy_of(rows, before.decisions, now),
    ]
    told = (("temperature", fitted.value),) if isinstance(fitted, Temperature) else ()
    return tried(given, "recalibration", name, changes, told, "")


def _brier_of(before: Rows, after: Rows, cluster: Int64Array, seed: int) -> Change:
    weights = before.weights
    first, second = weights * brier(before).losses, weights * brier(after).losses
    parts = np.stack([second - first, weights], axis=1)
    change = jackknife(parts, cluster, lambda sums: float(sums[0] / sums[1]), CONFIDENCE, seed)
    total = weights.sum()
    return Change("Brier score", "number", float(first.sum() / total), float(second.sum() / total), change)


def _error_of(before: Rows, after: Rows, cluster: Int64Array, seed: int) -> Change:
    """The expected calibration error, from the sums of each row's distance by bin, before and after side by side.

    It has a kink where a bin is right on average, which leaving out does not see: where both errors move together their
    change would have no width. So the bounds are at least as wide as of two errors that know nothing of each other.
    """
    parts = np.concatenate([_by_bin(before), _by_bin(after), before.weights[:, None]], axis=1)

    def error(sums: Float64Array, first: int) -> float:
        return float(np.abs(sums[first : first + BINS]).sum() / sums[-1])

    whole = parts.sum(axis=0)
    first, second, change = (
        jackknife(parts, cluster, figure, CONFIDENCE, seed)
        for figure in (
            partial(error, first=0),
            partial(error, first=BINS),
            lambda of: error(of, BINS) - error(of, 0),
        )
    )
    apart = math.hypot(first.upper - first.estimate, second.upper - second.estimate)
    half = max(change.upper - change.estimate, apart)
    change = Figure(change.estimate, max(-1.0, change.estimate - half), min(1.0, change.estimate + half))
    return Change("calibration error", "points", error(whole, 0), error(whole, BINS), change)


def _by_bin(rows: Rows) -> Float64Array:
    """Right less confidence of each row, by its weight, in the column of its bin of confidence: float64 [n, BINS]."""
    confidence, right = confidences(rows)
    table = np.zeros((len(rows), BINS))
    table[np.arange(len(rows)), bin_of(confidence)] = rows.weights * (right - confidence)
    return table
