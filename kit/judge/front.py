"""The trade-off front: variants by performance, gap of groups and cost, each with its interval, for people to choose.

A variant is dominated where another is surely no worse in anything, by more than a margin, and surely better in
something. On the same rows two variants are compared pair by pair, which tells more than their own intervals do. What
the estimates say and the intervals do not is told as such: on this front "not sure" is an answer.
"""

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np

from kit.fairness.paired import CRITERIA, Figure, Rows, change_of_share, gap, gap_change, share
from kit.judge.choice import cost_obtained
from kit.judge.energy_bounds import INTERVAL_WINDOWS, above_idle_bounds
from kit.judge.sentences import how
from kit.records import (
    AxisFigure,
    ColumnRecord,
    Evidence,
    Front,
    FrontPoint,
    Judgement,
    Obtained,
    PredictionRecord,
    Standing,
    VariantEvidence,
    Verdict,
)
from kit.spec.types import Profile, Requirement
from kit.stats.multiple import candidate_confidence
from kit.stats.quantile import quantile_bounds
from kit.words import count, percent, quantity

CONFIDENCE = 0.95
"""Of each end of a point's interval; of all claims that one variant is dominated by another, together."""

MARGIN = 0.005
"""How much worse in accuracy, and in a gap, is still "no worse": half a point."""

Axis = Literal["accuracy", "gap", "cost"]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Whose gap is looked at: rows by group, the criterion and its column."""

    rows: Rows
    criterion: str
    column: str


def front(
    evidence: Evidence,
    judgement: Judgement | None,
    profile: Profile,
    *,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
) -> Front | None:
    """The variants of a run as points; None where fewer than two have decisions on the dataset.

    The gap is that of the profile's first fairness requirement (its measure, column and positive class), else of
    accuracy over the first sensitive column of the dataset, else there is none. The cost is what the profile picks by.
    Without a judgement the points have no verdict (INCONCLUSIVE) and none is chosen.
    """
    shown = [each for each in evidence.variants if _decided(each, evidence) is not None]
    if len(shown) < 2:
        return None
    groups = _groups(evidence, profile)
    points = [_point(each, evidence, judgement, profile, groups, confidence) for each in evidence.variants]
    claims = len(shown) * (len(shown) - 1)
    sure = candidate_confidence(confidence, claims)
    placed = _placed(points, evidence, profile, groups, margin, sure)
    ordered = sorted(placed, key=lambda point: (point.cost is None, point.cost.estimate if point.cost else 0.0))
    return Front(
        points=tuple(ordered),
        gap_of="" if groups is None else f"{groups.criterion} over {groups.column}",
        cost_of={"size": "size", "latency": "median latency", "energy": "energy above idle"}[profile.cheapest_by],
        cost_unit={"size": "B", "latency": "s", "energy": "J"}[profile.cheapest_by],
        confidence=confidence,
        margin=margin,
        method=(
            f"pairs of variants on the same rows, no worse by more than {quantity(margin, 'points')} in accuracy and "
            f"gap; {percent(confidence)} over {count(claims, 'comparison')} (Bonferroni)"
        ),
    )


def dominates(one: FrontPoint, other: FrontPoint, gains: dict[Axis, Figure], margin: float) -> bool:
    """Whether `one` is surely no worse than `other` in anything, and surely better in something.

    gains: how much better `one` is on accuracy and on the gap (in points, more is better), paired; cost by the points.
    """
    if one.cost is None or other.cost is None or one.cost.upper is None or other.cost.lower is None:
        return False
    if one.cost.upper > other.cost.lower or any(gain.lower < -margin for gain in gains.values()):
        return False
    return one.cost.upper < other.cost.lower or any(gain.lower > 0 for gain in gains.values())


def _placed(
    points: list[FrontPoint], evidence: Evidence, profile: Profile, groups: _Groups | None, margin: float, sure: float
) -> list[FrontPoint]:
    surely, perhaps = dict.fromkeys(permutations(range(len(points)), 2), False), set[tuple[int, int]]()
    for i, j in surely:
        if _comparable(points[i], points[j]):
            gains = _gains(evidence.variants[i], evidence.variants[j], evidence, profile, groups, sure)
            surely[i, j] = dominates(points[i], points[j], gains, margin)
            if _better_by_estimates(points[i], points[j]):
                perhaps.add((i, j))
    found = []
    for j, point in enumerate(points):
        by = [i for i in range(len(points)) if i != j and surely[i, j] and not surely[j, i]]
        maybe = [i for i in range(len(points)) if (i, j) in perhaps]
        standing: Standing = "dominated" if by else "doubtful" if maybe else "front"
        if point.accuracy is None or point.cost is None:
            standing = "not measured"
        names = tuple(points[i].variant for i in (by or maybe))
        found.append(replace(point, standing=standing, by=names, sentence=_sentence(point, standing, names)))
    return found


def _comparable(one: FrontPoint, other: FrontPoint) -> bool:
    return all(each is not None for point in (one, other) for each in (point.accuracy, point.cost))


def _better_by_estimates(one: FrontPoint, other: FrontPoint) -> bool:
    """Whether no estimate of `one` is worse and one is better."""
    pairs = [(one.accuracy, other.accuracy, -1), (one.gap, other.gap, 1), (one.cost, other.cost, 1)]
    differences = [sign * (first.estimate - second.estimate) for first, second, sign in pairs
                   if first is not None and second is not None]  # fmt: skip
    return max(differences) <= 0 and min(differences) < 0


def _gains(
    one: VariantEvidence, other: VariantEvidence, evidence: Evidence, profile: Profile, groups: _Groups | None,
    confidence: float,
) -> dict[Axis, Figure]:  # fmt: skip
    """How much better `one` is on the rows: accuracy gained, and gap saved."""
    first, second = _decided(one, evidence), _decided(other, evidence)
    assert first is not None
    assert second is not None
    labels, rows = evidence.dataset.labels, all_rows(evidence, profile)
    right = (second.decisions == labels, first.decisions == labels)
    gains: dict[Axis, Figure] = {"accuracy": change_of_share(rows, *right, confidence)}
    if groups is not None:
        saved = gap_change(groups.rows, groups.criterion, first.decisions, second.decisions, confidence)
        gains["gap"] = saved if saved is not None else Figure(0.0, -1.0, 1.0)
    return gains


def _point(
    variant: VariantEvidence, evidence: Evidence, judgement: Judgement | None, profile: Profile, groups: _Groups | None,
    confidence: float,
) -> FrontPoint:  # fmt: skip
    name, predictions = variant.variant.recipe.name, _decided(variant, evidence)
    judged = next((each for each in (judgement.variants if judgement else ()) if each.variant == name), None)
    gap_figure = None
    if predictions is not None and groups is not None:
        found = gap(groups.rows, groups.criterion, predictions.decisions, confidence)
        gap_figure = None if found is None else _on_axis(found, predictions.obtained)
    return FrontPoint(
        variant=name,
        verdict=Verdict.INCONCLUSIVE if judged is None else judged.verdict,
        chosen=judgement is not None and name == judgement.chosen,
        accuracy=None if predictions is None else _accuracy(predictions, evidence, profile, confidence),
        gap=gap_figure,
        cost=_cost(variant, profile, confidence),
        standing="front",
        by=(),
        sentence="",
    )


def _on_axis(figure: Figure, obtained: Obtained) -> AxisFigure:
    return AxisFigure(figure.estimate, figure.lower, figure.upper, obtained)


def _accuracy(found: PredictionRecord, evidence: Evidence, profile: Profile, confidence: float) -> AxisFigure:
    rows = all_rows(evidence, profile)
    return _on_axis(share(rows, rows.shown("right", found.decisions), confidence), found.obtained)


def _cost(variant: VariantEvidence, profile: Profile, confidence: float) -> AxisFigure | None:
    obtained = cost_obtained(variant, profile)
    if profile.cheapest_by == "size":
        size = float(variant.variant.model.size_bytes)
        return AxisFigure(size, size, size, obtained)
    if profile.cheapest_by == "latency" and variant.latency is not None:
        steady = variant.latency.samples_ns[variant.latency.warmup_count :].astype(np.float64) * 1e-9
        if len(steady):
            bounds = quantile_bounds(steady, 0.5, confidence)
            return AxisFigure(bounds.estimate, bounds.lower, bounds.upper, obtained)
    record = variant.energy if profile.cheapest_by == "energy" else None
    if record is not None and len(record.window_energy_j) >= INTERVAL_WINDOWS:
        found = above_idle_bounds(record, confidence)
        return AxisFigure(found.estimate, found.lower, found.upper, obtained) if found.estimate > 0 else None
    return None


def _decided(variant: VariantEvidence, evidence: Evidence) -> PredictionRecord | None:
    """The variant's predictions on the device, where they are decisions on every row of a labelled dataset."""
    found = variant.predictions
    if found is None or found.obtained == "absent" or evidence.dataset.targets is not None:
        return None
    return found if len(found.decisions) == evidence.dataset.rows > 0 else None


def all_rows(evidence: Evidence, profile: Profile) -> Rows:
    """The rows of the dataset as one group."""
    data = evidence.dataset
    return Rows(data.labels, data.cluster, np.zeros(data.rows, np.int64), 1, 0, profile.icc_floor, data.weights)


def _groups(evidence: Evidence, profile: Profile) -> _Groups | None:
    """The groups of the profile's first requirement on them, else of the dataset's first sensitive column."""
    asked = next((each for each in profile.requirements if each.metric.startswith("fairness.")), None)
    data = evidence.dataset
    columns = (asked.by if asked is not None else ()) or data.sensitive
    column = next((name for name in columns if name in data.columns), None)
    criterion = criterion_of(asked)
    if column is None or criterion not in CRITERIA:
        return None
    return _Groups(rows_by(evidence, profile, data.columns[column], asked), criterion, column)


def criterion_of(asked: Requirement | None) -> str:
    """What differs between groups: the requirement's measure, else accuracy."""
    return (asked.measure if asked is not None else "") or "accuracy"


def rows_by(evidence: Evidence, profile: Profile, column: ColumnRecord, asked: Requirement | None) -> Rows:
    """The rows by the groups of `column` that have any; the class that is wanted is the requirement's, or the last."""
    data = evidence.dataset
    present, group = np.unique(column.codes, return_inverse=True)
    wanted = asked.positive if asked is not None and asked.positive in data.classes else data.classes[-1]
    return Rows(data.labels, data.cluster, group.astype(np.int64), len(present), data.classes.index(wanted),
                profile.icc_floor, data.weights)  # fmt: skip


def _sentence(point: FrontPoint, standing: Standing, by: tuple[str, ...]) -> str:
    others = " and ".join(by[:2]) + (f" and {len(by) - 2} more" if len(by) > 2 else "")
    figures = _figures(point)
    return {
        "front": f"{point.variant} is on the front: no other variant is at least as good in all ({figures}).",
        "doubtful": f"{point.variant} is perhaps dominated by {others}: by the estimates, not surely ({figures}).",
        "dominated": f"{point.variant} is dominated by {others}: no better in anything that counts ({figures}).",
        "not measured": f"{point.variant} is not placed: not all of its figures were obtained.",
    }[standing]


def _figures(point: FrontPoint) -> str:
    texts = []
    if point.accuracy is not None:
        texts.append(f"accuracy {quantity(point.accuracy.estimate, 'share')}{how(point.accuracy.obtained)}")
    if point.gap is not None:
        texts.append(f"gap {quantity(point.gap.estimate, 'points')}")
    return ", ".join(texts)
