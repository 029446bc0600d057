"""Every scenario of every kind of requirement."""

from collections.abc import Iterator

from tests.proofs.certifications import groups, measured, quality, rows, searched, sequential, trust
from tests.proofs.certifications.scenario import Scenario

MODULES = (measured, rows, sequential, quality, groups, searched, trust)

RUNS = 10_000
"""Certifications of a scenario whose `share` is 1; of each kind of requirement there are at least as many."""


def scenarios() -> Iterator[Scenario]:
    """All of them, kind after kind as modules have them."""
    for module in MODULES:
        yield from module.scenarios()
