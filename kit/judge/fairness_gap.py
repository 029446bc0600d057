"""fairness.gap and fairness.ratio: how far groups are apart on the device, as a difference or as a ratio."""

from kit.fairness.compare import Bounds, gap, gap_estimate, ratio, ratio_estimate
from kit.judge.base import Case, absent, explained, finding
from kit.judge.fairness import Answer, by_question, gap_unit, measured, need_of, title
from kit.judge.sentences import how, slice_name
from kit.records import Finding, PredictionRecord, Verdict
from kit.words import interval, percent, quantity


def judge_gap(case: Case) -> tuple[Finding, ...]:
    """The greatest difference, or the smallest ratio, between two groups: one finding a grouping and measure."""
    return by_question(case, _gap if case.requirement.metric == "fairness.gap" else _ratio)


def _gap(case: Case, predictions: PredictionRecord, answer: Answer) -> Finding:
    alpha, of = 1.0 - case.confidence, answer.comparisons
    bounds = gap(of, "after", alpha)
    details = {"gap_before": gap_estimate(of, "before"), "gap_after": bounds.estimate}
    return _finding(case, predictions, answer, bounds, details, "gap")


def _ratio(case: Case, predictions: PredictionRecord, answer: Answer) -> Finding:
    alpha, of = 1.0 - case.confidence, answer.comparisons
    bounds, before = ratio(of, "after", alpha), ratio_estimate(of, "before")
    if bounds is None:
        reason = f"the ratio over {title(answer)} is not defined: a figure is negative, or 0 in every group."
        return absent(case, "share", reason, "judge the difference (fairness.gap)", answer.question.subject)
    details = {"ratio_after": bounds.estimate} | ({} if before is None else {"ratio_before": before})
    return _finding(case, predictions, answer, bounds, details, "ratio")


def _finding(
    case: Case, predictions: PredictionRecord, answer: Answer, bounds: Bounds, details: dict[str, float], what: str
) -> Finding:
    found = finding(case, measured(case, predictions, answer, bounds, details), subject=answer.question.subject)
    sentence = _sentence(found, answer, bounds, what)
    return explained(found, sentence, need_of(case, answer, found, _safe_end(case, found)))


def _safe_end(case: Case, found: Finding) -> float | None:
    """The bound that a PASS rests on."""
    return found.upper if case.requirement.direction == "at_most" else found.lower


def _sentence(found: Finding, answer: Answer, bounds: Bounds, what: str) -> str:
    assert found.estimate is not None
    unit = "points" if what == "gap" and found.unit != "1" else found.unit
    value, ends = quantity(found.estimate, unit), interval(found.lower, found.upper, unit)
    limit = f"{'allowed' if found.direction == 'at_most' else 'at least'} {quantity(found.limit, unit)}"
    said = f"the {what} over {title(answer)} is {value}{how(found.obtained)}"
    sides = _extremes(answer, bounds)
    if found.verdict is Verdict.PASS:
        bound = found.upper if found.direction == "at_most" else found.lower
        assert bound is not None
        most = "at most" if found.direction == "at_most" else "at least"
        return f"{said}, {most} {quantity(bound, unit)} ({percent(found.confidence)} confidence), {sides}; {limit}."
    return f"{said} {ends}, {sides}; {limit}."


def _extremes(answer: Answer, bounds: Bounds) -> str:
    """ "between sex: M (81 %) and sex: F (74 %) in the true positive rate of yes", or that all are alike."""
    comparison = answer.comparisons[bounds.part]
    unit = "share" if gap_unit(answer.question.measure) == "points" else "1"
    figures = [quantity(comparison.figures(index).after.estimate, unit) for index in (bounds.high, bounds.low)]
    if bounds.high == bounds.low:
        return f"{figures[0]} of every group in {comparison.part.name}"
    names = (slice_name(answer.groups.names[index]) for index in (bounds.high, bounds.low))
    ends = [f"{name} ({figure})" for name, figure in zip(names, figures, strict=True)]
    return f"between {ends[0]} and {ends[1]} in {comparison.part.name}"
