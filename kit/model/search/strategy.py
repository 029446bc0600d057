"""The search itself: the best treatment of each base, then evaluations of the cheapest that may hold."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from kit.errors import ConversionError, MissingExtraError, ModelError
from kit.model.quantize import Variant, VariantMaker
from kit.model.search.base import Budget, Evaluate, Remember, Selection, Target
from kit.model.search.course import Aim, Candidate, Course, Whole
from kit.model.search.estimate import FEW, MANY, Estimator
from kit.model.search.front import GUARD, LITTLE_GUARD, PRICE, meets, worst_excess
from kit.model.search.ladder import Ladder, Told
from kit.model.search.treatment import METHODS, WHOLE, Ground, Treatment, bases_for, equalizations
from kit.records import Recipe, SearchPoint
from kit.spec.recipe import BASES as RECIPES

ROUNDS = ((FEW, 4), (MANY, 1))
"""Rows on which treatments are compared, and how many go on: successive halving (Jamieson and Talwalkar, 2016)."""


HOPELESS = 3.0
"""Excess, on few rows, beyond which a configuration is not worth a full evaluation: four times what may be lost."""

WORTH = 0.9
"""Share of the best cost so far below which another evaluation is worth its while."""


class OutOfTimeError(Exception):
    """The budget of seconds is spent."""


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
    courses: list[Course] = field(default_factory=list)
    costs: dict[int, float] = field(default_factory=dict)
    """By number of a point: the cost that was predicted, as of a candidate."""
    grounds: list[Ground] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    aim: Aim = field(default_factory=Aim)
    refused: str = ""
    """Why a base could not be quantized."""
    wholes: list[Whole] = field(default_factory=list)
    estimator: Estimator = field(init=False)

    def __post_init__(self) -> None:
        self.estimator = Estimator(self.selection, self.seed, self._check_time)

    def run(self) -> str:
        """Fill `points`; how it ended: met, budget or exhausted."""
        try:
            self._treat()
            ended = self._evaluate_candidates()
            if not self._met():
                self._last_resort()
        except OutOfTimeError:
            return "budget"
        if self._met():
            return ended
        return "budget" if self._spent() else "exhausted"

    def _met(self) -> bool:
        return any(meets(point.gaps) for point in self.points)

    def _spent(self) -> bool:
        return len(self.points) >= self.budget.evaluations

    def _check_time(self) -> None:
        if self.budget.seconds is not None and time.monotonic() - self.started_s > self.budget.seconds:
            raise OutOfTimeError

    def _treat(self) -> None:
        """A course for each base that can be quantized, with the treatment that changes scores least."""
        self.maker.want(METHODS)
        bases = [name for name in bases_for(self.target) if name not in WHOLE]
        ways = equalizations(self.maker) if bases else ()
        for number, base in enumerate(bases):
            self.told("treatments", number, len(bases))
            treated = [_best_treatment(ground, self.estimator) for ground in self._grounds(base, ways)]
            if treated:
                _, ground, treatment = min(treated, key=lambda each: each[0])
                ladder = Ladder(ground, treatment, self.estimator, self.told)
                guess = self.estimator.gaps(ground, treatment, frozenset())
                self.courses.append(Course(ground, treatment, ladder, guess))
        self.wholes = list(self._weigh_wholes())
        self.told("treatments", len(bases), len(bases))

    def _grounds(self, base: str, ways: tuple[bool, ...]) -> Iterator[Ground]:
        """A base as it is, and equalized; none where it cannot be quantized."""
        for equalize in ways:
            self._check_time()
            try:
                ground = Ground(self.maker, base, self.selection.output, equalize=equalize)
            except ConversionError as error:
                self.refused = error.what
                continue
            self.grounds.append(ground)
            yield ground

    def _weigh_wholes(self) -> Iterator[Whole]:
        """The whole model in each precision that it can be made in."""
        for name in [name for name in bases_for(self.target) if name in WHOLE]:
            self._check_time()
            with suppress(ConversionError, MissingExtraError, ModelError):
                variant = self.maker.make(RECIPES[name])
                yield Whole(variant, self.estimator.divergence_of(variant, self.selection.output))

    def _evaluate_candidates(self) -> str:
        """Evaluate the cheapest that may hold, while there is one that is cheaper than what held; how it ended."""
        self._take_aim()
        while (candidate := self._cheapest()) is not None:
            if self._spent():
                return "budget"
            self._evaluate_candidate(candidate)
        return "met"

    def _take_aim(self) -> None:
        """At what is not hopeless, or from there on: few rows cannot tell more."""
        hopeful = [each.divergence for each in self.courses if worst_excess(each.guess, sampled=True) <= HOPELESS]
        if hopeful:
            self.aim.target = max(hopeful)
        elif self.courses:
            nearest = min(self.courses, key=lambda each: each.divergence)
            self.aim.learn(nearest.divergence, nearest.guess)

    def _cheapest(self) -> Candidate | Whole | None:
        """The cheapest configuration at which `aim` points and that was not tried."""
        limit = self._affordable()
        found: Candidate | Whole | None = None
        for whole in self.wholes if self._in_bytes() else ():
            size = len(whole.variant.data)
            if whole.name not in self.tried and whole.divergence <= self.aim.target and size < limit:
                found, limit = whole, size
        for course in sorted(self.courses, key=lambda each: self._cost(Candidate(each, frozenset()))):
            if self._cost(Candidate(course, frozenset())) >= limit:
                break  # what it keeps in float only adds to that
            kept = course.ladder.shortest(self.aim.target)
            candidate = None if kept is None else Candidate(course, kept)
            if candidate is not None and candidate.name not in self.tried and self._cost(candidate) < limit:
                found, limit = candidate, self._cost(candidate)
        return found

    def _affordable(self) -> float:
        """The cost below which another evaluation is worth its while, in the unit of `_cost`."""
        return min(WORTH * self._least_held(GUARD), PRICE * self._least_held(LITTLE_GUARD))

    def _least_held(self, guard: float) -> float:
        held = [cost for number, cost in self.costs.items() if meets(self.points[number].gaps, guard)]
        return min(held, default=float("inf"))

    def _cost(self, candidate: Candidate) -> float:
        """Predicted: bytes, or work where a device tells seconds or joules."""
        return candidate.cost(in_bytes=self._in_bytes())

    def _in_bytes(self) -> bool:
        return not self.points or self.points[0].cost_unit == "B"

    def _evaluate_candidate(self, candidate: Candidate | Whole) -> None:
        self.tried.add(candidate.name)
        if isinstance(candidate, Whole):
            made = candidate.variant
            point = self._evaluated(made.record.recipe, candidate.nodes_in_float, made)
            self.costs[len(self.points) - 1] = len(made.data)
            if not meets(point.gaps, GUARD):
                self.aim.learn(candidate.divergence, point.gaps)
            return
        course = candidate.course
        first = course.ground.variant if course.treatment == course.ground.first and not candidate.kept else None
        floats = len(candidate.kept & course.ground.products)
        point = self._evaluated(course.treatment.recipe(candidate.kept), floats, first)
        self.costs[len(self.points) - 1] = self._cost(candidate)
        self.aim.learn(course.ladder.divergence(candidate.kept), point.gaps)

    def _evaluated(self, recipe: Recipe, nodes_in_float: int, made: Variant | None = None) -> SearchPoint:
        self._check_time()
        self.told("evaluations", len(self.points), self.budget.evaluations)
        started_s = time.monotonic()
        variant = made or self.maker.make(recipe)
        point = self.known.get(variant.record.model.digest)
        if point is None:
            found = self.evaluate(variant)
            point = SearchPoint(
                variant=variant.record,
                gaps=found.gaps,
                cost=found.cost,
                cost_unit=found.cost_unit,
                nodes_in_float=nodes_in_float,
                latency_s=found.latency_s,
                energy_j=found.energy_j,
                seconds=time.monotonic() - started_s,
            )
            self.remember(point, variant.data)
        self.points.append(point)
        return point

    def _last_resort(self) -> None:
        """Nothing that may hold is left: the best there is is measured, if nothing was, and the float model itself."""
        if not self.points and self.courses and not self._spent():
            best = min(self.courses, key=lambda course: worst_excess(course.guess))
            self._evaluate_candidate(Candidate(best, frozenset()))
        exactest = min(self.wholes, key=lambda whole: whole.divergence, default=None)
        if exactest is not None and exactest.name not in self.tried and not self._spent() and not self._met():
            self._evaluate_candidate(exactest)
        if not self._spent() and not self._met():
            products = self.grounds[0].products if self.grounds else frozenset()
            self._evaluated(RECIPES["fp32"], len(products))


def _best_treatment(ground: Ground, estimator: Estimator) -> tuple[float, Ground, Treatment]:
    """The treatment that changes scores least, after the loss that it has on the rows of the last round."""
    left = list(ground.treatments())
    losses: dict[Treatment, float] = {}
    for count, going_on in ROUNDS:
        losses = {each: float(estimator.losses(ground, each, frozenset(), count).mean()) for each in left}
        left = sorted(left, key=losses.__getitem__)[:going_on]
    return losses[left[0]], ground, left[0]
