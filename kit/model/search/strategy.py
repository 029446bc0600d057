"""The search itself: treatments first, then the cheapest nodes to give back, a few full evaluations to decide."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kit.errors import ConversionError
from kit.model.quantize import Variant, VariantMaker
from kit.model.search.base import Budget, Evaluate, Remember, Selection, Target
from kit.model.search.front import GUARD, NEAR, meets, worst_excess
from kit.model.search.sensitivity import node_losses, row_losses, spread_subset, weighted
from kit.model.search.treatment import METHODS, Ground, Treatment, arithmetic_bases
from kit.records import Float64Array, Int64Array, Recipe, SearchGap, SearchPoint
from kit.spec.recipe import BASES as RECIPES

Told = Callable[[str, int, int], None]
"""Called with the phase, how much of it is done, and how much there is."""

ROUNDS = ((64, 4), (256, 1))
"""Rows on which treatments are compared, and how many go on: successive halving (Jamieson and Talwalkar, 2016)."""

NODE_ROWS = 128
"""Rows on which each node is looked at by itself."""

PREDICTION_ROWS = 512
"""Rows on which a configuration's gaps are predicted."""


class OutOfTimeError(Exception):
    """The budget of seconds is spent."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that is predicted to hold, or the best there is: what to make, and what to expect."""

    ground: Ground
    treatment: Treatment
    kept: frozenset[str]
    size_bytes: int
    gaps: tuple[SearchGap, ...]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.treatment.recipe(self.kept).name


@dataclass(slots=True)
class Search:
    """One run. See `kit.model.search.search` for the arguments."""

    maker: VariantMaker
    selection: Selection
    evaluate: Evaluate
    target: Target
    budget: Budget
    seed: int
    told: Told
    remember: Remember
    known: dict[str, SearchPoint]
    started_s: float = field(default_factory=time.monotonic)
    points: list[SearchPoint] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
    optimism: dict[str, float] = field(default_factory=dict)
    """By base: by how much predictions of the worst excess were too good."""
    refused: str = ""

    def run(self) -> str:
        """Fill `points`; how it ended: met, budget or exhausted."""
        try:
            proposals = self._treated()
            self._try(proposals)
            if not any(meets(point.gaps) for point in self.points):
                self._last_resort(proposals)
        except OutOfTimeError:
            return "budget"
        if any(meets(point.gaps) for point in self.points):
            return "met"
        return "budget" if len(self.points) >= self.budget.evaluations else "exhausted"

    def _check_time(self) -> None:
        if self.budget.seconds is not None and time.monotonic() - self.started_s > self.budget.seconds:
            raise OutOfTimeError

    # Treatments

    def _treated(self) -> list[Proposal]:
        """For each base the treatment that changes scores least, with nothing in float."""
        self.maker.want(METHODS)
        proposals = []
        bases = arithmetic_bases(self.target.arithmetic)
        for number, base in enumerate(bases):
            self.told("treatments", number, len(bases))
            self._check_time()
            try:
                ground = Ground(self.maker, base, self.selection.output)
            except ConversionError as error:
                self.refused = error.what
                continue
            self.grounds.append(ground)
            treatment = self._best_treatment(ground)
            proposals.append(self._propose(ground, treatment, frozenset()))
        self.told("treatments", len(bases), len(bases))
        return proposals

    def _best_treatment(self, ground: Ground) -> Treatment:
        left = list(ground.treatments())
        for count, going_on in ROUNDS:
            rows = self._subset(count)
            losses = {each: float(self._losses(ground, each, frozenset(), rows).mean()) for each in left}
            left = sorted(left, key=losses.__getitem__)[:going_on]
        return left[0]

    def _subset(self, count: int) -> Int64Array:
        return spread_subset(self.selection.strata, count, self.seed)

    def _losses(self, ground: Ground, treatment: Treatment, kept: frozenset[str], rows: Int64Array) -> Float64Array:
        self._check_time()
        feeds = {name: array[rows] for name, array in self.selection.feeds.items()}
        return row_losses(ground.scores(feeds, treatment, kept), self.selection.reference[rows])

    def _propose(self, ground: Ground, treatment: Treatment, kept: frozenset[str]) -> Proposal:
        """Its gaps as predicted on some rows."""
        self._check_time()
        rows = self._subset(PREDICTION_ROWS)
        feeds = {name: array[rows] for name, array in self.selection.feeds.items()}
        decisions = ground.scores(feeds, treatment, kept).argmax(axis=1).astype(np.int64)
        gaps = self.selection.objective(decisions, rows)
        return Proposal(ground, treatment, kept, ground.size_bytes(kept), gaps)

    # Full evaluations

    def _try(self, proposals: list[Proposal]) -> None:
        """Evaluate the cheapest that is predicted to hold; again while something cheaper may hold."""
        bare = {each.ground.base: each for each in proposals}
        while len(self.points) < self.budget.evaluations:
            best = min((p.cost for p in self.points if meets(p.gaps, GUARD)), default=None)
            tried = {point.variant.recipe.name for point in self.points}
            candidates = [each for each in self._candidates(bare) if each.name not in tried]
            if not candidates:
                break
            chosen = min(candidates, key=lambda each: (each.size_bytes, each.name))
            if best is not None and chosen.size_bytes * NEAR >= self._size_of_best():
                break
            self._evaluate(chosen.treatment.recipe(chosen.kept), chosen)

    def _size_of_best(self) -> int:
        held = [point for point in self.points if meets(point.gaps, GUARD)]
        return min(held, key=lambda point: point.cost).variant.model.size_bytes

    def _candidates(self, bare: dict[str, Proposal]) -> list[Proposal]:
        """For each base the smallest configuration that is predicted to hold."""
        found = [each for each in bare.values() if self._holds(each)]
        limit = min((each.size_bytes for each in found), default=None)
        held = [p.variant.model.size_bytes for p in self.points if meets(p.gaps, GUARD)]
        limit = min([*held, *([] if limit is None else [limit])], default=None)
        for proposal in bare.values():
            if proposal in found:
                continue
            mixed = self._mixed(proposal, limit)
            if mixed is not None:
                found.append(mixed)
                limit = min(mixed.size_bytes, limit or mixed.size_bytes)
        return found

    def _holds(self, proposal: Proposal) -> bool:
        expected = worst_excess(proposal.gaps, sampled=True) + self.optimism.get(proposal.ground.base, 0.0)
        return expected <= -GUARD

    def _evaluate(self, recipe: Recipe, proposal: Proposal | None) -> SearchPoint:
        self._check_time()
        self.told("evaluations", len(self.points), self.budget.evaluations)
        started_s = time.monotonic()
        ready = proposal.ground.variant if proposal and proposal.treatment == proposal.ground.first else None
        variant = ready if ready and proposal and not proposal.kept else self.maker.make(recipe)
        point = self.known.get(variant.record.model.digest) or self._scored(variant, proposal, started_s)
        self.points.append(point)
        if proposal is not None:
            base = proposal.ground.base
            missed = worst_excess(point.gaps, sampled=True) - worst_excess(proposal.gaps, sampled=True)
            self.optimism[base] = max(self.optimism.get(base, 0.0), missed)
        return point

    def _scored(self, variant: Variant, proposal: Proposal | None, started_s: float) -> SearchPoint:
        found = self.evaluate(variant)
        floats = len(proposal.kept & proposal.ground.products) if proposal else len(self._all_products())
        point = SearchPoint(
            variant=variant.record,
            gaps=found.gaps,
            cost=found.cost,
            cost_unit=found.cost_unit,
            nodes_in_float=floats,
            latency_s=found.latency_s,
            energy_j=found.energy_j,
            seconds=time.monotonic() - started_s,
        )
        self.remember(point, variant.data)
        return point

    def _all_products(self) -> frozenset[str]:
        return self.grounds[0].products if self.grounds else frozenset()

    def _last_resort(self, proposals: list[Proposal]) -> None:
        """Nothing is predicted to hold, or did: the best there is is measured, and the float model itself."""
        if not self.points and proposals and self.budget.evaluations:
            best = min(proposals, key=lambda each: (worst_excess(each.gaps), each.size_bytes))
            self._evaluate(best.treatment.recipe(best.kept), best)
        if len(self.points) < self.budget.evaluations and not any(meets(p.gaps) for p in self.points):
            self._evaluate(RECIPES["fp32"], None)

    # Mixed precision

    def _mixed(self, proposal: Proposal, limit_bytes: int | None) -> Proposal | None:
        """The smallest set of nodes found that, kept in float, is predicted to hold; None if none below the limit."""
        ranking = self._ranking(proposal)
        low, high = 0, 1
        best: Proposal | None = None
        while best is None and low < len(ranking):
            high = min(high, len(ranking))
            attempt = self._prefix(proposal, ranking, high)
            if limit_bytes is not None and attempt.size_bytes * NEAR >= limit_bytes:
                return None
            if self._holds(attempt):
                best = attempt
            else:
                low, high = high, 2 * high
        while best is not None and high - low > 1:
            middle = (low + high) // 2
            attempt = self._prefix(proposal, ranking, middle)
            low, high, best = (low, middle, attempt) if self._holds(attempt) else (middle, high, best)
        return best and self._pruned(best, ranking[:high])

    def _prefix(self, proposal: Proposal, ranking: list[str], count: int) -> Proposal:
        ground = proposal.ground
        return self._propose(ground, proposal.treatment, ground.with_neighbours(frozenset(ranking[:count])))

    def _ranking(self, proposal: Proposal) -> list[str]:
        """Nodes by what they do to the slices that suffer, for each byte that giving them back costs."""
        ground, treatment = proposal.ground, proposal.treatment
        rows = self._subset(NODE_ROWS)
        strata = self.selection.strata[rows]
        everything = frozenset(ground.units)
        told = {"done": 0}

        def alone(node: str) -> Float64Array:
            self.told("nodes", told["done"], len(ground.units))
            told["done"] += 1
            return self._losses(ground, treatment, everything - {node}, rows)

        losses = node_losses(ground.units, alone, strata)
        all_int8 = node_losses([""], lambda _: self._losses(ground, treatment, frozenset(), rows), strata)
        gain = weighted(losses, all_int8[0].by_stratum)
        plain = ground.size_bytes(frozenset())
        cost = {node: max(64, ground.size_bytes(ground.with_neighbours(frozenset({node}))) - plain) for node in gain}
        return sorted(gain, key=lambda node: (-gain[node] / cost[node], node))

    def _pruned(self, proposal: Proposal, kept: list[str]) -> Proposal:
        """Nodes go back to int8, the least useful first, while it is still predicted to hold."""
        left = list(kept)
        for node in reversed(kept):
            fewer = [each for each in left if each != node]
            if not fewer:
                break
            attempt = self._prefix(proposal, fewer, len(fewer))
            if self._holds(attempt) and attempt.size_bytes < proposal.size_bytes:
                proposal, left = attempt, fewer
        return proposal
