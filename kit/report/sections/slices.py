"""Slices: what was lost on each, on the same rows, worst first; a table and a forest plot for each requirement."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.records import DatasetRecord, Evidence, Finding, PredictionRecord, VariantJudgement
from kit.report import sentences
from kit.report.sections.requirements import label_of
from kit.report.sections.slice_table import SliceRow as SliceRow
from kit.report.sections.slice_table import SliceTable, build_table
from kit.spec.types import Profile, Requirement
from kit.task.decisions import right_rows
from kit.words import count

ELSEWHERE = ("fairness.", "data.", "privacy.", "explanation.")
"""Metrics whose subjects are no slices: they have sections of their own."""

IN_TEXT = 3
"""Slices that do not pass and have a line of their own in a terminal."""


@dataclass(frozen=True, slots=True)
class SlicesView:
    """Every requirement on slices as a table, and the slices of the first one that is broken, else of the first."""

    headline: str
    tables: tuple[SliceTable, ...]
    worst: tuple[str, ...]

    @property
    def rows(self) -> tuple[SliceRow, ...]:
        """Every slice of every requirement, worst first in each."""
        return tuple(row for table in self.tables for row in table.rows)


def accuracy(predictions: PredictionRecord, data: DatasetRecord, rows: NDArray[np.bool_] | None = None) -> float | None:
    """Share of rows right, by weight; None where there is no row, or no answer is right or wrong as a whole."""
    right, chosen = right_rows(data, predictions), slice(None) if rows is None else rows
    if right is None or not len(right[chosen]):
        return None
    return float(np.average(right[chosen], weights=None if data.weights is None else data.weights[chosen]))


def build_slices(evidence: Evidence, judged: VariantJudgement | None, profile: Profile) -> SlicesView | None:
    """Every slice that was judged on this variant, with all rows among them; None where none was."""
    findings = [f for f in judged.findings if not f.metric.startswith(ELSEWHERE)] if judged else []
    asked = dict.fromkeys(f.requirement for f in findings if not sentences.is_whole(f))
    if not asked:
        return None
    cluster = evidence.dataset.cluster_column or ""
    named = {each.id: each for each in profile.requirements}
    tables = tuple(
        build_table(_of(findings, each), cluster, _title(_of(findings, each)[-1], named.get(each))) for each in asked
    )
    slices = [row for table in tables for row in table.rows if not row.whole]
    ordered = _worst_first(slices)
    return SlicesView(_headline(slices, ordered), tables, _worst(ordered))


def _title(finding: Finding, asked: Requirement | None) -> str:
    """What a table shows of every slice: the words of the requirement, were it on all rows."""
    return label_of(replace(finding, subject=""), 1, asked)


def _worst_first(slices: list[SliceRow]) -> list[SliceRow]:
    """Slices of all requirements: broken, undecided, passing, of each those that lost the most points first."""
    words = ("FAIL", "INCONCLUSIVE", "PASS", sentences.NOT_TESTED)
    return sorted(slices, key=lambda row: (words.index(row.status), row.at is None, _lost(row)))


def _lost(row: SliceRow) -> float:
    """Less is worse: a change in points; what has another unit comes after those."""
    return row.at if row.at is not None and row.in_points else math.inf


def _of(findings: list[Finding], requirement: str) -> list[Finding]:
    """A requirement's findings, after what the same metric is on all rows."""
    own = [f for f in findings if f.requirement == requirement]
    whole = [f for f in findings if f.metric == own[0].metric == "accuracy.drop" and sentences.is_whole(f)]
    return whole[:1] + own


def _headline(slices: list[SliceRow], ordered: list[SliceRow]) -> str:
    """How many pass, how many are broken or undecided, and the worst."""
    names = {"PASS": "pass", "FAIL": "broken", "INCONCLUSIVE": "undecided", sentences.NOT_TESTED: "not tested"}
    numbers = {word: sum(row.status == word for row in slices) for word in names}
    parts = ", ".join(f"{number:,} {names[word]}" for word, number in numbers.items() if number)
    worst = next((row for row in ordered if row.at is not None and row.status != sentences.NOT_TESTED), None)
    rest = "" if worst is None else f" The worst is {worst.name}: {worst.drop}."
    return f"{count(len(slices), 'slice')}: {parts}.{rest}"


def _worst(ordered: list[SliceRow]) -> tuple[str, ...]:
    """A sentence for each of the worst slices that do not pass, as far as a terminal has room for them."""
    bad = [row for row in ordered if row.status in ("FAIL", "INCONCLUSIVE")]
    return tuple(f"{row.name}: {row.drop}" for row in bad[:IN_TEXT])
