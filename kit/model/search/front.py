"""Which of the evaluated points are worth having, which one is chosen, and why."""

from collections.abc import Sequence

from kit.records import SearchGap, SearchPoint
from kit.stats.gap import SAMPLED, excess

GUARD, LITTLE_GUARD = 1.28, 0.64
"""Standard errors that a choice keeps from each limit where it can (1.28: nine in ten of a normal distribution): the
rows that confirm are others than those that chose, and the best of several estimates is on average better than the
truth. For the same reason what seems gained counts as nothing lost."""

PRICE = 1.3
"""A guard of `GUARD` instead of `LITTLE_GUARD` may raise the cost by 30 %."""

NEAR = 1.01
"""Costs within a hundredth count as equal: files differ by a few bytes for their recipes' names."""


def worst_gap(gaps: Sequence[SearchGap]) -> SearchGap | None:
    """The gap with the largest excess; the first of equals."""
    return max(gaps, key=excess, default=None)


def worst_excess(gaps: Sequence[SearchGap], *, sampled: bool = False) -> float:
    """The largest excess, of all gaps or of those estimated from rows; -1 without any."""
    return max((excess(gap) for gap in gaps if not sampled or gap.unit in SAMPLED), default=-1.0)


def meets(gaps: Sequence[SearchGap], guard: float = 0.0) -> bool:
    """Whether every gap is within its limit, and those estimated from rows by `guard` standard errors."""
    return all(excess(gap) <= 0.0 and (not guard or guarded_loss(gap, guard) <= gap.allowed) for gap in gaps)


def guarded_loss(gap: SearchGap, guard: float) -> float:
    """What may be feared to be lost; a gap that nothing was seen to change in is what it is."""
    return max(gap.loss, 0.0) + guard * gap.spread if gap.spread else gap.loss


def pareto_front(points: Sequence[SearchPoint]) -> tuple[int, ...]:
    """Indices, by rising cost, of the points that no other beats in cost or worst excess without losing the other."""
    order = sorted(range(len(points)), key=lambda i: (points[i].cost, worst_excess(points[i].gaps), i))
    front: list[int] = []
    for index in order:
        if not front or worst_excess(points[index].gaps) < worst_excess(points[front[-1]].gaps):
            front.append(index)
    return tuple(front)


def choose(points: Sequence[SearchPoint]) -> tuple[int | None, str]:
    """The cheapest point that meets everything, with a guard where it is to be had, and why; None if none meets it."""
    meeting = [i for i, point in enumerate(points) if meets(point.gaps)]
    if not meeting:
        return None, _nothing(points)
    guard, affordable = _guarded([points[i] for i in meeting])
    safe = [i for i in meeting if meets(points[i].gaps, guard) and points[i].cost <= affordable]
    least = min(points[i].cost for i in safe)
    near = [i for i in safe if points[i].cost <= NEAR * least]
    chosen = min(near, key=lambda i: (worst_excess(points[i].gaps), points[i].cost, i))
    return chosen, _why(points[chosen], len(meeting), guard)


def _guarded(meeting: Sequence[SearchPoint]) -> tuple[float, float]:
    """The largest guard that some point keeps at an acceptable price, and that price."""
    costs = {
        guard: min((point.cost for point in meeting if meets(point.gaps, guard)), default=float("inf"))
        for guard in (GUARD, LITTLE_GUARD, 0.0)
    }
    if costs[GUARD] <= PRICE * costs[LITTLE_GUARD] < float("inf"):
        return GUARD, PRICE * costs[LITTLE_GUARD]
    guard = LITTLE_GUARD if costs[LITTLE_GUARD] < float("inf") else 0.0
    return guard, NEAR * costs[guard]


_WHOLE = {
    "fp16": "everything in half precision",
    **dict.fromkeys(("int8-weights", "int4-weights"), "only weights quantized"),
}


def _why(point: SearchPoint, meeting: int, guard: float) -> str:
    limits = len(point.gaps)
    if point.variant.recipe.precision == "fp32":
        return f"the reference itself: nothing quantized that was tried meets all {limits} limits"
    of = f"the cheapest of {meeting} that meet" if meeting > 1 else "the only one tried that meets"
    margin = f"by {guard:g} standard errors at least" if guard else "with little to spare"
    whole = _WHOLE.get(point.variant.recipe.precision)
    if whole:
        return f"{of} all {limits} limits, {margin}, {whole}"
    floats = f"{point.nodes_in_float} products in float" if point.nodes_in_float else "nothing in float"
    return f"{of} all {limits} limits, {margin}, {floats}"


def _nothing(points: Sequence[SearchPoint]) -> str:
    if not points:
        return "nothing was evaluated"
    nearest = min(points, key=lambda point: worst_excess(point.gaps))
    gap = worst_gap(nearest.gaps)
    if gap is None:
        return "nothing was measured"
    where = f" on {gap.subject}" if gap.subject else ""
    verb = "loses" if gap.unit in SAMPLED else "is"
    amounts = f"{verb} {_amount(gap.loss, gap.unit)}, allowed {_amount(gap.allowed, gap.unit)}"
    name = nearest.variant.recipe.name
    return f"nothing meets the profile: {gap.requirement}{where} binds: the nearest, {name}, {amounts}"


def _amount(value: float, unit: str) -> str:
    if unit == "points":
        return f"{100 * value:.1f} points"
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f} {unit}" if unit == "B" else f"{value:.4g} {unit}"
