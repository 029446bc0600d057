"""A line that flips, loses, invents, doubles and delays bytes, hangs, goes dead, with reboots and kills: no wrong byte.

`make proofs` runs 10,000 seeded schedules of two engines in virtual time; a quick size runs in every test run.
Wrong bytes are asserted against inside the schedule (tests/wire/line_schedule.py), at every read.
"""

from collections import Counter

import pytest

from kit.wire.reliable import WINDOW_BYTES
from tests.wire.line_schedule import LIMIT_NS, Outcome, Schedule, run, schedule

FULL = pytest.param(10_000, marks=[pytest.mark.proof, pytest.mark.timeout(3600)], id="full")
QUICK = pytest.param(80, id="quick")
MOST_STEPS = 50_000


def completed(plan: Schedule, outcome: Outcome) -> bool:
    """Done in bounded time, work and memory, after no more failures than there were disruptions."""
    return (
        outcome.end_ns < LIMIT_NS
        and outcome.steps < MOST_STEPS
        and len(outcome.failures) <= plan.disruptions()
        and outcome.most_held_bytes <= 2 * WINDOW_BYTES
    )


@pytest.mark.parametrize("count", [QUICK, FULL])
def test_every_transfer_completes_or_fails_cleanly_and_no_wrong_byte_is_accepted(count: int) -> None:
    failures: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    unfinished = []
    for seed in range(count):
        plan = schedule(seed)
        outcome = run(plan)
        failures.update(each if isinstance(each, str) else each.name for each in outcome.failures)
        totals.update(
            damaged=outcome.damaged_packets,
            resent_bytes=outcome.resent_bytes,
            duplicates=outcome.duplicates,
            delivered_bytes=plan.up_bytes + plan.down_bytes,
            disruptions=plan.disruptions(),
        )
        if not completed(plan, outcome):
            unfinished.append((seed, outcome))
    print(f"{count} schedules: 0 wrong bytes, {len(unfinished)} not completed; {dict(totals)}; failed {dict(failures)}")
    assert not unfinished, unfinished[:3]
    assert totals["damaged"] > count
    assert totals["disruptions"] > count / 4
    assert min(failures[name] for name in ("killed", "UNKNOWN", "SILENT")) > 0
