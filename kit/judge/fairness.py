"""What may differ between groups of people, and by how much: gap, ratio and change of a gap, with their findings.

A finding is of one grouping (a column, or several crossed) and one measure. It is over every group that has enough
rows; a group that has not is named, and holds a PASS back. A FAIL stands, since the gap between some groups is at most
that between all; that of a change does not, whose gap before may have been between others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kit.errors import SpecError
from kit.fairness.compare import Bounds, Comparison, compared, gap_change, gap_estimate
from kit.fairness.groups import MOST_GROUPS, Groups, grouped, groupings, separate
from kit.fairness.parts import Part
from kit.judge.base import POWER, Case, Measured, absent, certifying, explained, finding, undecided, unpredicted
from kit.judge.endless import assumption, held_back
from kit.judge.group_figures import parts_of
from kit.judge.sentences import how, slice_name
from kit.records import Finding, PredictionRecord, Verdict
from kit.slicing.declared import column_of
from kit.spec.measures import HARMS, MEASURES
from kit.stats.special import normal_quantile, student_t_quantile
from kit.task import MEASURES_BY_NAME, UndefinedError
from kit.words import count, interval, percent, quantity

METHOD = "every two groups at this confidence (intersection-union, Berger 1982), score bounds joined by MOVER"
SHARED = "every two groups at this confidence (intersection-union, Berger 1982), score bounds, any dependence"
STANDING = (("fairness.gap", "at_most"), ("fairness.ratio", "at_least"))
"""Claims of all groups that some of them can refute."""

_NAMED = 3
"""Groups that a sentence names before it counts the others."""


@dataclass(frozen=True, slots=True)
class Question:
    """One grouping and one measure of a requirement; `subject` as the finding names them."""

    columns: tuple[str, ...]
    measure: str
    subject: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The figures of every group; which are compared; and what is said of those that are not."""

    question: Question
    groups: Groups
    parts: tuple[Part, ...]
    comparisons: tuple[Comparison, ...]
    untested: tuple[str, ...]


Judged = Callable[[Case, PredictionRecord, Answer], Finding]


def judge_gap_change(case: Case) -> tuple[Finding, ...]:
    """The gap between groups after optimization, less the gap before: one finding a grouping and measure."""
    return by_question(case, _change)


def questions(case: Case) -> list[Question]:
    """What a requirement asks: its measure, or those that show the harm it fears, or accuracy; of each grouping."""
    asked = case.requirement
    measures = (asked.measure,) if asked.measure else HARMS.get(asked.harm, ("",))
    return [
        Question(columns, measure or "accuracy", " & ".join(columns) + (f": {measure}" if measure else ""))
        for columns in groupings(asked.by, asked.cross)
        for measure in measures
    ]


def unit_of(case: Case, measure: str) -> str:
    """Unit of the requirement's figure: "share" of a ratio, "points" of a gap; of a number in its own unit, none."""
    if case.requirement.metric == "fairness.ratio":
        return "share"
    return "1" if gap_unit(measure) == "1" else "points"


def gap_unit(measure: str) -> str:
    """Unit of a gap in `measure`: "points", or of a number in the target's own unit none."""
    own = ".py:" in measure
    return "1" if own or (measure in MEASURES and MEASURES[measure].kind == "number") else "points"


def by_question(case: Case, judged: Judged) -> tuple[Finding, ...]:
    """One finding a question; what cannot be asked of these records is absent, with its reason."""
    predictions, unit = case.variant.predictions, unit_of(case, case.requirement.measure)
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, unit, *unpredicted(case)),)
    if not case.requirement.by:
        return (absent(case, unit, "the requirement names no column of groups.", "add `by` to the requirement"),)
    return tuple(_answered(case, predictions, question, judged) for question in questions(case))


def _answered(case: Case, predictions: PredictionRecord, question: Question, judged: Judged) -> Finding:
    unit = unit_of(case, question.measure)
    try:
        groups = groups_of(case, question.columns)
        answer = answer_of(case, predictions, question, groups)
    except (UndefinedError, SpecError) as error:
        need = error.next_step or "name another measure"
        return absent(case, unit, f"{error.what}.", need, question.subject)
    if not answer.comparisons:
        return _nothing_to_compare(case, answer, unit)
    found = _held_back(judged(case, predictions, answer), answer)
    everything = np.ones(case.evidence.dataset.rows, dtype=np.bool_)
    return certifying(case, held_back(case, found, question.measure, everything))


def groups_of(case: Case, columns: tuple[str, ...]) -> Groups:
    """The groups of some columns. Raises SpecError for columns that the data does not have, and too many groups."""
    data = case.evidence.dataset
    missing = [column for column in columns if column not in data.columns and column not in data.numbers]
    if missing:
        raise SpecError(f"the dataset has no column {', '.join(missing)}", next_step="name a column of the dataset")
    groups = grouped({column: column_of(data, column, case.profile.bins) for column in columns})
    if len(groups.names) > MOST_GROUPS:
        what = f"{groups.subject} makes {len(groups.names):,} groups, and at most {MOST_GROUPS:,} are compared"
        raise SpecError(what, next_step="cross fewer columns, or join rare values")
    return groups


def answer_of(case: Case, predictions: PredictionRecord, question: Question, groups: Groups) -> Answer:
    """The figures of all groups, and those that have the rows and clusters that the requirement demands."""
    data = case.evidence.dataset
    parts = parts_of(case, predictions, question.measure, groups)
    cluster = None if data.cluster_column is None else data.cluster
    apart = separate(groups.codes, len(groups.names), cluster)
    if (known := MEASURES_BY_NAME.get(question.measure)) is not None and known.is_biased:
        apart = np.zeros_like(apart)  # MOVER takes each estimate for unbiased: rather one bound less the other
    small = {
        (place, index): lacking
        for place, part in enumerate(parts)
        for index in range(len(groups.names))
        if (lacking := _lacking(case, part, index))
    }
    tested = [tuple(k for k in range(len(groups.names)) if (place, k) not in small) for place in range(len(parts))]
    untested = dict.fromkeys(f"{slice_name(groups.names[index])} {lacking}" for (_, index), lacking in small.items())
    return Answer(question, groups, parts, compared(parts, tested, apart), tuple(untested))


def _lacking(case: Case, part: Part, index: int) -> str:
    """What a group has too little of, as the end of a sentence; empty if it has enough."""
    asked, figures = case.requirement, part.groups[index]
    rows, clusters = (0, 0) if figures is None else (figures.rows, figures.clusters)
    of = "" if part.rate in ("accuracy", "error-rate") or part.rate in MEASURES else f" for the {part.name}"
    if rows < max(1, asked.minimum_rows):
        return f"has {count(rows, 'row')}{of}; minimum {asked.minimum_rows:,}" if rows else f"has no rows{of}"
    if clusters < max(2, asked.minimum_clusters):
        column = case.evidence.dataset.cluster_column or "row"
        return f"has {count(rows, 'row')} in only {count(clusters, column)}{of}; minimum {asked.minimum_clusters:,}"
    return ""


def _nothing_to_compare(case: Case, answer: Answer, unit: str) -> Finding:
    subject, over = answer.question.subject, answer.groups.subject
    if len(answer.groups.names) < 2:
        reason = f"NOT TESTED: {over} has only one group, so there is no gap."
        return absent(case, unit, reason, "rows of at least two groups", subject)
    reason = f"NOT TESTED: {_listed(answer.untested)}, so the gap over {over} cannot be judged."
    return absent(case, unit, reason, "more rows, from more clusters, in these groups", subject)


def _listed(texts: tuple[str, ...]) -> str:
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more:,} more groups alike" if more > 0 else "")


def _held_back(found: Finding, answer: Answer) -> Finding:
    """A PASS over some of the groups is none; a FAIL stands. Crossings that no row has are counted."""
    groups = answer.groups
    if groups.empty:
        none = f"no row is in {count(groups.empty, 'combination')} of {groups.subject}"
        found = replace(found, reason=f"{found.reason} Among the groups, {none}.")
    if not answer.untested:
        return found
    if found.verdict is Verdict.FAIL and (found.metric, found.direction) in STANDING:
        return replace(found, reason=f"{found.reason} Not tested: {_listed(answer.untested)}.")
    reason = (
        f"NOT TESTED: {_listed(answer.untested)}, so the gap over {groups.subject} cannot be judged; "
        f"over the other groups, {found.reason}"
    )
    return undecided(found, reason, "more rows, from more clusters, in the groups that are not tested")


def measured(
    case: Case, predictions: PredictionRecord, answer: Answer, bounds: Bounds, details: dict[str, float]
) -> Measured:
    """A figure over the groups that are compared, with what it rests on."""
    rows, clusters = max(_size(each) for each in answer.comparisons)
    chosen = {k for each in answer.comparisons for k in each.tested}
    return Measured(
        bounds.estimate, bounds.lower, bounds.upper, unit_of(case, answer.question.measure),
        (METHOD if all(each.apart.all() for each in answer.comparisons) else SHARED)
        + assumption(case, answer.question.measure),
        rows, predictions.obtained, clusters,
        case.digests(predictions, case.evidence.reference_predictions),
        {**details, "groups": float(len(chosen)), "groups_not_tested": float(len(answer.groups.names) - len(chosen))},
    )  # fmt: skip


def _size(of: Comparison) -> tuple[int, int]:
    """Rows of the groups that are compared, and the clusters that those rows are in."""
    figures = [of.figures(k) for k in of.tested]
    rows, known = sum(each.rows for each in figures), [each.cluster for each in figures if each.cluster is not None]
    return rows, len(np.unique(np.concatenate(known))) if known else rows


def _change(case: Case, predictions: PredictionRecord, answer: Answer) -> Finding:
    alpha, of = 1.0 - case.confidence, answer.comparisons
    bounds = gap_change(of, alpha)
    details = {"gap_before": gap_estimate(of, "before"), "gap_after": gap_estimate(of, "after")}
    found = finding(case, measured(case, predictions, answer, bounds, details), subject=answer.question.subject)
    return explained(found, _change_sentence(found, answer), need_of(case, answer, found, found.upper))


def _change_sentence(found: Finding, answer: Answer) -> str:
    assert found.estimate is not None
    gaps = [quantity(found.details[key], found.unit) for key in ("gap_before", "gap_after")]
    went = f"the gap over {title(answer)} went from {gaps[0]} to {gaps[1]}{how(found.obtained)}"
    allowed = f"allowed {quantity(found.limit, found.unit)}"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        return f"{went}; it grows by at most {quantity(found.upper, found.unit)} {end}; {allowed}."
    ends = interval(found.lower, found.upper, found.unit)
    return f"{went}, a change of {quantity(found.estimate, found.unit)} {ends}; {allowed}."


def title(answer: Answer) -> str:
    """ "sex", or with a measure that was asked for "sex in equalized odds"."""
    named = ": " in answer.question.subject
    return answer.groups.subject + (f" in {answer.question.measure.replace('-', ' ')}" if named else "")


def need_of(case: Case, answer: Answer, found: Finding, bound: float | None) -> str:
    """How many times these rows give a `POWER` chance of deciding, if the estimate holds (normal approximation)."""
    assert found.estimate is not None
    distance = found.limit - found.estimate if case.requirement.direction == "at_most" else found.estimate - found.limit
    reach = abs((found.estimate if bound is None else bound) - found.estimate)
    fewest = min(
        ((each.figures(k).rows, k) for each in answer.comparisons for k in each.tested), key=lambda pair: pair[0]
    )
    where = slice_name(answer.groups.names[fewest[1]])
    if distance <= 1e-9:
        return "the estimate lies at or beyond the limit: more rows alone may not decide"
    critical = student_t_quantile(case.confidence, max(1.0, float(fewest[0] - 1)))
    times = (reach / distance * (1 + normal_quantile(POWER) / critical)) ** 2
    if times > 100:
        return "the estimate lies too near the limit: 100 times these rows may not decide"
    chance = f"({percent(POWER)} chance of deciding, if it holds)"
    return f"about {max(times, 1.1):.1f} times these rows in each group, first in {where} {chance}"
