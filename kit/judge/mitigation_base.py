"""What a mitigation is: figures before and after on rows that it was not fitted on, and what speaks against it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.fairness.paired import BoolArray, Figure, Rows, change_of_share, gap, gap_change
from kit.judge.front import CONFIDENCE
from kit.records import Evidence, Int64Array, Obtained, PredictionRecord, VariantEvidence
from kit.spec.types import Profile, Requirement
from kit.words import count, fixed, interval, percent, quantity

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
class Given:
    """A variant's predictions with the run they belong to, and which rows a mitigation is fitted on."""

    evidence: Evidence
    variant: VariantEvidence
    profile: Profile
    found: PredictionRecord
    fitting: NDArray[np.bool_]

    @property
    def seed(self) -> int:
        """Of halves, lots and groups of clusters."""
        return self.profile.measure.seed


def asked_of_groups(profile: Profile) -> Requirement | None:
    """The profile's first requirement on groups."""
    return next((each for each in profile.requirements if each.metric.startswith("fairness.")), None)


def column_of_groups(given: Given) -> str | None:
    """The column whose groups are compared: that requirement's, else the dataset's first sensitive one."""
    data, asked = given.evidence.dataset, asked_of_groups(given.profile)
    columns = (asked.by if asked is not None else ()) or data.sensitive
    return next((name for name in columns if name in data.columns), None)


def gap_of(rows: Rows, criterion: str, before: Int64Array, after: Int64Array) -> Change:
    """The gap of groups in a row of `CRITERIA` under two deciders; every group has rows of both classes."""
    first, second = gap(rows, criterion, before, CONFIDENCE), gap(rows, criterion, after, CONFIDENCE)
    assert first is not None
    assert second is not None
    change = gap_change(rows, criterion, before, after, CONFIDENCE)
    return Change(f"gap, {criterion}", "points", first.estimate, second.estimate, change)


def accuracy_of(rows: Rows, before: Int64Array, after: Int64Array) -> Change:
    """Share decided as labelled under two deciders."""
    return share_of("accuracy", rows, before == rows.labels, after == rows.labels)


def share_of(what: str, rows: Rows, before: BoolArray, after: BoolArray) -> Change:
    """A share of the rows under two deciders, bool [n] each."""
    first, second = (float(np.average(each, weights=rows.weights)) for each in (before, after))
    return Change(what, "share", first, second, change_of_share(rows, before, after, CONFIDENCE))


def tried(
    given: Given, kind: Literal["thresholds", "recalibration", "variant"], name: str, changes: list[Change],
    rule: tuple[tuple[str, float], ...], caution: str, sizes: tuple[int, int] | None = None,
) -> Mitigation:  # fmt: skip
    """A mitigation that was fitted and judged, with its sentence; `sizes`: on how many rows, if not on all."""
    fitted, judged = sizes or (int(given.fitting.sum()), int((~given.fitting).sum()))
    method = (
        f"fitted on {count(fitted, 'row')} and judged on {count(judged, 'other row')}, whole "
        f"clusters each, seed {given.seed}; each bound at {percent(CONFIDENCE)}"
    )
    where = "" if kind == "variant" else f"on {count(judged, 'row')} that it was not fitted on, "
    told = where + "; ".join(_words(each) for each in changes)
    return Mitigation(kind, name, tuple(changes), rule, fitted, judged, given.found.obtained,
                      method, f"{name[:1].upper()}{name[1:]}: {told}.", caution)  # fmt: skip


def not_tried(
    given: Given, kind: Literal["thresholds", "recalibration"], name: str, why: str, caution: str
) -> Mitigation:
    """A mitigation that could not be: no figures, and `why` as its sentence."""
    return Mitigation(kind, name, (), (), 0, 0, given.found.obtained, "not tried", why[:1].upper() + why[1:], caution)


def _words(each: Change) -> str:
    """ "accuracy 84.1 % to 83.9 %, a change of −0.2 points [−0.9, +0.5]"."""
    if each.unit == "number":
        told, change = f"{each.what} {_decimal(each.before)} to {_decimal(each.after)}", each.change
        ends = [] if change is None else [_decimal(end) for end in (change.lower, change.upper)]
        return f"{told}, a change of {_decimal(change.estimate)} [{', '.join(ends)}]" if change is not None else told
    if each.unit == "points":
        told = f"{each.what} {fixed(100 * each.before)} to {quantity(each.after, 'points')}"
    else:
        told = f"{each.what} {quantity(each.before, 'share')} to {quantity(each.after, 'share')}"
    if each.change is None:
        return told
    ends_text = interval(each.change.lower, each.change.upper, "points")
    return f"{told}, a change of {quantity(each.change.estimate, 'points')} {ends_text}"


def _decimal(value: float) -> str:
    """A score to four places, with a true minus."""
    return f"{round(value, 4) or 0.0:.4f}".replace("-", "−")
