"""What a simulated certification is, and how many of them may be wrong.

A scenario draws evidence whose truth lies exactly at a requirement's limit and certifies it, again and again. There a
PASS is wrong as often as it can be, and so is a FAIL. Each may come at most alpha of the time; that it does is refuted
where even the lower end of its rate's exact 99 % interval is beyond alpha.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kit.judge.base import Case, worst
from kit.judge.registry import JUDGES
from kit.records import Verdict

BoolArray = NDArray[np.bool_]
Rng = np.random.Generator

ALPHA = 0.05
"""Of requirements at the profile's usual confidence of 95 %."""

RATE_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Certified:
    """Verdicts of many certifications, bool [runs] each; `again(i)` has the judge decide the i-th from its records.

    `again` is None where the judge has decided all of them already.
    """

    passed: BoolArray
    failed: BoolArray
    again: Callable[[int], Verdict] | None = None


@dataclass(frozen=True)
class Scenario:
    """One truth at the limit of one kind of requirement. `certify(runs, rng)` draws and decides.

    fails: whether a FAIL is wrong here as well, which it is not where the truth is barely beyond the limit. share: of
    the usual number of runs, for what takes long. again: how many of them the judge decides as well.
    """

    kind: str
    words: str
    certify: Callable[[int, Rng], Certified]
    alpha: float = ALPHA
    fails: bool = True
    share: float = 1.0
    again: int = 20

    @property
    def id(self) -> str:
        """A name that a test can have."""
        return f"{self.kind}, {self.words}"


@dataclass(frozen=True)
class Tally:
    """How many of `runs` certifications came out so."""

    count: int
    runs: int

    @property
    def rate(self) -> float:
        return self.count / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """The rate's exact interval (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934)."""
        found = stats.binomtest(self.count, self.runs).proportion_ci(RATE_CONFIDENCE, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.rate:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


@dataclass(frozen=True)
class Result:
    """A scenario's wrong verdicts, and in how many of the first runs the judge decided otherwise than the fast path."""

    scenario: Scenario
    passed: Tally
    failed: Tally
    differing: int

    @property
    def holds(self) -> bool:
        """Whether the data leave it possible that each verdict is wrong at most alpha of the time."""
        wrong = (self.passed, self.failed) if self.scenario.fails else (self.passed,)
        return self.differing == 0 and all(tally.interval[0] <= self.scenario.alpha for tally in wrong)


def simulate(scenario: Scenario, runs: int, seed: int = 0) -> Result:
    """`runs` certifications of the scenario, the first few of them also by the judge where it was not asked."""
    runs = max(1, round(runs * scenario.share))
    rng = np.random.default_rng([seed, *scenario.id.encode()])
    found = scenario.certify(runs, rng)
    differing = 0
    for index in range(min(scenario.again, runs) if found.again is not None else 0):
        assert found.again is not None
        expected = "PASS" if found.passed[index] else "FAIL" if found.failed[index] else "INCONCLUSIVE"
        differing += found.again(index).value != expected
    return Result(scenario, Tally(int(found.passed.sum()), runs), Tally(int(found.failed.sum()), runs), differing)


def judged(case: Case) -> Verdict:
    """The worst verdict of the case's findings, by the very function that certifying asks."""
    return worst(finding.verdict for finding in JUDGES[case.requirement.metric](case))


def by_judging(draw: Callable[[Rng], Case]) -> Callable[[int, Rng], Certified]:
    """Certifications by the judge itself, one after the other."""

    def certify(runs: int, rng: Rng) -> Certified:
        verdicts = [judged(draw(rng)) for _ in range(runs)]
        return Certified(
            np.array([verdict is Verdict.PASS for verdict in verdicts]),
            np.array([verdict is Verdict.FAIL for verdict in verdicts]),
        )

    return certify
