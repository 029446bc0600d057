"""While rows arrive: which requirements are decided, and which rows the others still need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kit.errors import MeasurementError
from kit.judge.base import Case, compare
from kit.judge.rows import BoolArray, too_few
from kit.judge.sampled import SAMPLED, Memory, Sampled, sampled
from kit.judge.sentences import slice_name
from kit.judge.slices import slices_of
from kit.records import Finding, SampleRecord, Verdict
from kit.stats.multiple import candidate_confidence
from kit.stats.sequential import Sequential
from kit.words import count

PILOT = 64
"""Rows after which one asks whether the rest could still show that a requirement holds; and again at twice as many."""


@dataclass(slots=True)
class _Subject:
    """Rows that a requirement is about. decided: after how many of them, None as long as it is not; `holds` is how.

    spent: no row is left. hopeless: none that is left could show that it holds. asked: at how many rows that was seen.
    """

    name: str
    mask: BoolArray
    decided: int | None = None
    holds: bool = False
    spent: bool = False
    hopeless: bool = False
    asked: int = 0

    @property
    def waits(self) -> bool:
        """Whether more rows are wanted."""
        return self.decided is None and not self.spent and not self.hopeless


class Follow:
    """Follows a growing sample of one variant; what was decided stays decided.

    Args:
        cases: requirements of one variant; those of other metrics than `SAMPLED` are left alone. A requirement that
            one slice breaks is decided: its other slices need no more rows.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        self._subjects = [(case, _subjects(case)) for case in cases if case.requirement.metric in SAMPLED]
        self._memory: Memory = {}
        self.told = "no row yet"

    def __call__(self, record: SampleRecord) -> BoolArray:
        """Rows [rows] that some undecided subject needs, whether they came or not; none once all is decided.

        Raises MeasurementError for a sample that is not of this dataset, or not in its seed's order.
        """
        wanted = np.zeros(self._rows, dtype=np.bool_)
        for case, subjects in self._subjects:
            view = sampled(replace(case, variant=replace(case.variant, sample=record)), record, self._memory)
            if isinstance(view, str):
                raise MeasurementError(view, where=f"device {record.where}", next_step="run the rows from the start")
            for each in subjects:
                if each.waits:
                    _look(view, each, len(subjects))
            if not _broken(subjects):
                for each in subjects:
                    wanted |= each.mask & each.waits
        self.told = self._sentence()
        return wanted

    @property
    def _rows(self) -> int:
        return self._subjects[0][0].evidence.dataset.rows if self._subjects else 0

    def _sentence(self) -> str:
        """``accuracy decided after 320 rows; slice side: left needs more``."""
        parts: list[str] = []
        for case, subjects in self._subjects:
            waiting = [] if _broken(subjects) else [each for each in subjects if each.decided is None]
            rows = max((each.decided or 0 for each in subjects), default=0)
            if not waiting:
                parts.append(f"{case.requirement.id} decided after {count(rows, 'row')}")
                continue
            waiting = [each for each in waiting if each.waits] or waiting
            needs = "needs more" if waiting[0].waits else "stays undecided, "
            if not waiting[0].waits:
                hopeless = any(each.hopeless for each in waiting)
                needs += "no row that is left could show that it holds" if hopeless else "all rows are spent"
            names = ", ".join(slice_name(each.name) for each in waiting[:3] if each.name)
            more = f" and {count(len(waiting) - 3, 'other')}" if len(waiting) > 3 else ""
            what = f"{case.requirement.id}{': ' if names else ''}{names}{more}"
            parts.append(f"{what} {needs}")
        return "; ".join(parts) or "nothing to decide"


def _subjects(case: Case) -> list[_Subject]:
    """The whole, or every slice; those that are too small to be judged are left out, and so is what has no slices."""
    if not (case.requirement.by or case.requirement.slices):
        return [_Subject("", np.ones(case.evidence.dataset.rows, dtype=np.bool_))]
    slices = slices_of(case)
    if isinstance(slices, Finding):
        return []
    cluster = case.evidence.dataset.cluster
    return [
        _Subject(name, mask)
        for name, mask in slices.masks()
        if not too_few(case, int(mask.sum()), len(np.unique(cluster[mask])))
    ]


def _look(view: Sampled, subject: _Subject, among: int) -> None:
    """Decide the subject if its rows do: to fail, it must stand out `among` all its requirement's slices (Bonferroni).

    That is never sooner than Holm's correction, by which the verdict goes.
    """
    case, rows = view.case, view.rows(subject.mask)
    subject.spent = len(rows) == int(subject.mask.sum())
    if len(rows) >= max(PILOT, 2 * subject.asked):
        subject.asked = len(rows)
        subject.hopeless = (
            not subject.spent and not _seems_broken(view, subject) and not view.can_still_hold(subject.mask)
        )
    if too_few(case, len(rows), len(np.unique(case.evidence.dataset.cluster[rows]))):
        return
    counts = view.sample(subject.mask).counts
    assert isinstance(counts, Sequential)
    at_least, limit = case.requirement.direction == "at_least", case.requirement.limit
    good = 1 if at_least else -1
    side = counts.side(limit, case.confidence, reaches=at_least)
    if side == -good and among > 1:
        side = counts.side(limit, candidate_confidence(case.confidence, among), reaches=at_least)
    verdict = compare(case.requirement.direction, limit, *counts.bounds(case.confidence)) if side else None
    if verdict is (Verdict.PASS if side == good else Verdict.FAIL):  # the bounds round otherwise at the very limit
        subject.decided, subject.holds = len(rows), verdict is Verdict.PASS


def _seems_broken(view: Sampled, subject: _Subject) -> bool:
    """Whether what came lies beyond the limit: more rows may then show that it is broken."""
    estimate, asked = float(view.sample(subject.mask).counts.estimate), view.case.requirement
    return estimate > asked.limit if asked.direction == "at_most" else estimate < asked.limit


def _broken(subjects: Sequence[_Subject]) -> bool:
    return any(each.decided is not None and not each.holds for each in subjects)
