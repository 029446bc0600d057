"""Losses without an end: a mean of them can be bounded only if somebody says how much a row can lose.

Whatever was seen, a row that loses far more may have been missed, so no bound of such a mean holds for every
distribution (R. R. Bahadur and L. J. Savage, Annals of Mathematical Statistics 27, 1956). Without the requirement's
`largest` there is an interval, which assumes what it says, and no verdict.
"""

import numpy as np

from kit.judge.base import Case, undecided
from kit.judge.rows import BoolArray
from kit.records import Finding, Float64Array, LossRecord, Verdict
from kit.spec.measures import MEASURES, has_end
from kit.task import MEASURES_BY_NAME, Losses, rows_of

NEED = "state the largest loss that a row can have: largest = ..."
OF_THE_DEVICE = ("quality.value", "fairness.gap", "fairness.ratio")
"""Metrics that rest on the optimized model's losses alone; the others rest on the reference's too."""

_ROUNDING = 1e-6


def own_losses(record: LossRecord, largest: float | None) -> Losses:
    """Losses of a user's function, from 0 to `largest` where that is stated."""
    low, high = (record.low, record.high) if largest is None else (0.0, largest)
    return Losses(record.losses, record.sizes, low, high)


def assumption(case: Case, measure: str) -> str:
    """A clause for a method; empty where the measure itself bounds what a row loses."""
    if has_end(measure):
        return ""
    if case.requirement.largest is None:
        return "; a loss has no end: that no row loses more than the largest seen is assumed (Bahadur and Savage 1956)"
    return f"; that no row loses more than {case.requirement.largest:g} is stated by the profile"


def held_back(case: Case, found: Finding, measure: str, mask: BoolArray) -> Finding:
    """The finding on the rows of `mask`, undecided where it rests on an end that nobody stated, or that does not hold.

    That a mean of losses is above its limit rests on their least, which is 0, and so stands.
    """
    if has_end(measure) or found.estimate is None:
        return found
    largest, sizes = case.requirement.largest, _sizes(case, measure)
    if largest is None:
        seen = float(sizes[mask].max(initial=0.0))
        assumed = f"That no row loses more than the largest seen ({seen:.3g}) is assumed: nothing bounds it."
        return found if _stands(found, measure) else undecided(found, f"{found.reason} {assumed}", NEED)
    beyond = np.flatnonzero(mask & ((sizes > largest * (1 + _ROUNDING)) | (sizes < 0.0)))
    if not len(beyond):
        return found
    said = f"Row {beyond[0]} (from 0) has {sizes[beyond[0]]:.3g}, and a row was said to lose from 0 to {largest:g}"
    others = f" ({len(beyond):,} rows are beyond)" if len(beyond) > 1 else ""
    return undecided(found, f"{found.reason} {said}{others}.", "correct `largest`, or the rows")


def _stands(found: Finding, measure: str) -> bool:
    is_mean = measure in MEASURES and MEASURES[measure].is_mean
    return found.verdict is Verdict.FAIL and found.metric == "quality.value" and is_mean


def _sizes(case: Case, measure: str) -> Float64Array:
    """What `largest` bounds in each row, the greatest of the models that count: float64 [rows]."""
    device_alone = case.requirement.metric in OF_THE_DEVICE
    known, data, reference = MEASURES_BY_NAME.get(measure), case.evidence.dataset, case.evidence.reference_predictions
    if known is None:
        sides = [case.variant.losses[measure].losses]
        sides += [] if device_alone else [case.evidence.reference_losses[measure].losses]
    else:
        assert case.variant.predictions is not None
        given = [case.variant.predictions] if device_alone else [case.variant.predictions, reference]
        sides = [known.size(rows_of(data, each, reference)) for each in given]
    low, high = np.min(sides, axis=0), np.max(sides, axis=0)
    return np.asarray(np.where(low < 0.0, low, high))
