"""A PASS is wrong at most alpha of the time, and so is a FAIL: every kind of requirement, the truth at its limit.

`make proofs` certifies each kind at least 10,000 times; a small size of some of them runs in every test run.
"""

import pytest

from tests.proofs.certifications import measured, quality, rows, searched, sequential, trust
from tests.proofs.certifications.every import RUNS, scenarios
from tests.proofs.certifications.scenario import Scenario, simulate

EVERY = tuple(scenarios())
QUICK = (
    measured.memory(7),
    measured.latency(50, 400, 0.0),
    measured.battery("battery.share", 8, 0.0),
    rows.drop(rows.Rows(30), rows.least_margin(30), 0.0),
    rows.drop(rows.Rows(1000), 0.01, 0.03),
    rows.drop(rows.Rows(14, 36, 0.05), 0.05, 0.02),
    rows.value(rows.Rows(500), 1 - rows.least_margin(500)),
    rows.slices(50, 30, rows.least_margin(30), 0.0, every=False, again=1),
    sequential.drop(300, 0.05, 0.01),
    sequential.share(300, 0.95, at_least=True),
    quality.quality("quality.loss", "brier", 300, sparse=True),
    searched.flips(300, 0.0105),
    trust.explanation(8, 0.4),
)
"""A few runs show that simulating works, and that nothing errs many times as often as it may."""


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.id)
def test_few_certifications_at_the_limit(scenario: Scenario) -> None:
    found = simulate(scenario, round(100 / scenario.share))
    assert found.holds, f"{scenario.id}: PASS {found.passed}, FAIL {found.failed}, other by judge {found.differing}"


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.id)
def test_certifications_at_the_limit(scenario: Scenario) -> None:
    found = simulate(scenario, RUNS)
    print(f"{scenario.id}: PASS {found.passed}, FAIL {found.failed} of {found.passed.runs:,}")
    assert found.differing == 0, "the fast path is not what the judge says"
    assert found.passed.interval[0] <= scenario.alpha, f"PASS is wrong in {found.passed}"
    assert not scenario.fails or found.failed.interval[0] <= scenario.alpha, f"FAIL is wrong in {found.failed}"


def test_every_kind_is_certified_often_enough() -> None:
    kinds: dict[str, float] = {}
    for scenario in EVERY:
        kinds[scenario.kind] = kinds.get(scenario.kind, 0.0) + RUNS * scenario.share
    assert min(kinds.values()) >= 10_000, kinds
    assert {"latency", "memory.peak", "battery.share", "battery.life", "accuracy.value", "accuracy.drop"} <= set(kinds)
    assert {"quality.value", "quality.loss", "agreement.flips", "slices.found", "privacy.membership"} <= set(kinds)
    assert {"fairness.gap", "fairness.ratio", "fairness.gap_change", "explanation.agreement"} <= set(kinds)


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.id for scenario in EVERY}) == len(EVERY)


def test_a_rule_that_passes_too_often_is_caught() -> None:
    """The proof can fail: the same scenario, held to a third of what it really does."""
    scenario = rows.drop(rows.Rows(1000), 0.01, 0.03)
    strict = Scenario(scenario.kind, scenario.words, scenario.certify, alpha=0.015)
    assert not simulate(strict, 2000).holds
