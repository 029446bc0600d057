"""Conjunctions found where the optimization hurts most, confirmed on rows that did not find them.

Rows are split at random in two halves, whole clusters each. What stands out on one half is tested on the other, and the
other way round: each way errs at most alpha / 2, after Holm's correction for what it tests (Scandinavian J. of
Statistics 6, 1979), so both together err at most alpha. Two chances find more than one half at alpha would.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kit.records import ColumnRecord, Float64Array
from kit.slicing.differences import Differences
from kit.slicing.discovery import candidates, told_once
from kit.slicing.family import Family, family_of
from kit.slicing.halves import first_half
from kit.slicing.scan import BoolArray
from kit.slicing.worst import DEPTH
from kit.spec.subjects import JOINED, named_part
from kit.stats.multiple import holm
from kit.stats.proportions import Counts, p_value_above

WAYS = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A conjunction that one half of the rows found, on the other half.

    p_value: against "its mean difference is at most the limit", corrected for all candidates and both ways. chance: the
    same on the half that found it, corrected for all that was looked at (Benjamini and Hochberg); it decides nothing.
    bound_confidence: of each end of an interval, so that the intervals of all candidates hold together.
    """

    number: int
    where: tuple[tuple[str, str], ...]
    rows: int
    clusters: int
    counts: Counts
    p_value: float
    chance: float
    bound_confidence: float

    @property
    def subject(self) -> str:
        """Its name: "sex=F & age=above 35 to 50"."""
        return JOINED.join(named_part(column, value) for column, value in self.where)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. candidates: the confirmed first, then by their difference, largest first."""

    family: Family
    candidates: tuple[Candidate, ...]
    confidence: float

    @property
    def confirmed(self) -> tuple[Candidate, ...]:
        """Those whose difference surely exceeds the limit."""
        return tuple(each for each in self.candidates if each.p_value <= 1 - self.confidence)


def search(
    columns: Mapping[str, ColumnRecord],
    differences: Differences,
    *,
    limit: float,
    minimum_rows: int = 30,
    minimum_clusters: int = 2,
    confidence: float = 0.95,
    seed: int = 0,
    depth: int = DEPTH,
) -> Found:
    """Conjunctions of up to `depth` columns with a mean difference above `limit`, each told once, confirmed or not.

    Args:
        columns: by name, codes int64 [rows].
        differences: of all rows.
        minimum_rows, minimum_clusters: the least that a conjunction has, in both halves together.
        seed: of the split.
    """
    x = differences.weight * (differences.values - limit)
    half = first_half(np.arange(len(x)) if differences.cluster is None else differences.cluster, seed)
    ways = (half, ~half)
    terms = [half.astype(np.float64), *(each for inside in ways for each in (x * inside, x * x * inside))]
    terms += [differences.values, differences.values**2]
    family = family_of(columns, terms, minimum_rows, depth)
    best: dict[int, Candidate] = {}
    for way, inside in enumerate(ways):
        if not len(family) or inside.all() or not inside.any():
            continue
        numbers = _discovered(family, differences, x, inside, way)
        for each in _tested(family, differences, numbers, ~inside, limit, minimum_clusters, (1 - confidence) / WAYS):
            if each.number not in best or each.p_value < best[each.number].p_value:
                best[each.number] = each
    return Found(family, _told(family, best, x, confidence), confidence)


def _discovered(
    family: Family, differences: Differences, x: Float64Array, inside: BoolArray, way: int
) -> dict[int, float]:
    """What stands out on the rows `inside`, which are those of `way`."""
    rows = family.sums[1] if way == 0 else family.sums[0] - family.sums[1]
    effect = max(1.0, float(inside.sum()) / differences.sample(inside).rows)
    sums = family.sums[2 + 2 * way], family.sums[3 + 2 * way]
    return candidates(family, rows, *sums, np.where(inside, x, np.nan), design_effect=effect)


def _tested(
    family: Family,
    differences: Differences,
    numbers: Mapping[int, float],
    held_out: BoolArray,
    limit: float,
    minimum_clusters: int,
    alpha: float,
) -> list[Candidate]:
    """Those with enough clusters, on the rows `held_out`. The number of clusters owes nothing to what models say."""
    masks = {number: family.mask(number) for number in numbers}
    parts = {
        number: mask & held_out
        for number, mask in masks.items()
        if differences.clusters(mask) >= minimum_clusters and differences.clusters(mask & held_out) >= 2
    }
    counts = [differences.sample(part) for part in parts.values()]
    adjusted = holm([p_value_above(each, limit) for each in counts])
    each_confidence = 1.0 - alpha / max(1, len(counts))
    return [
        Candidate(
            number=number,
            where=family.where(number),
            rows=int(part.sum()),
            clusters=differences.clusters(part),
            counts=of,
            p_value=min(1.0, WAYS * p_value),
            chance=numbers[number],
            bound_confidence=each_confidence,
        )
        for (number, part), of, p_value in zip(parts.items(), counts, adjusted, strict=True)
    ]


def _told(family: Family, best: Mapping[int, Candidate], x: Float64Array, confidence: float) -> tuple[Candidate, ...]:
    """The confirmed, each told once on all rows, then the others, the largest difference first of each."""
    ordered = sorted(best.values(), key=lambda each: (-each.counts.estimate, each.number))
    sure = [each for each in ordered if each.p_value <= 1 - confidence]
    by_end = sorted(sure, key=lambda each: -each.counts.bounds(each.bound_confidence)[0])
    told = told_once(family, [each.number for each in by_end], x)
    others = [each for each in ordered if each.p_value > 1 - confidence]
    return (*(each for each in sure if each.number in told), *others)
