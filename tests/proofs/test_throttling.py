"""A real device that is made slower half way is caught every time, and one that is not is not called throttled.

A local agent, timed as any device is. Its control group's CPU quota is cut on the way; the machine may have other work
meanwhile, which is named as such. The telemetry is taken away as well: the samples alone must show that it changed.
"""

import os
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from kit.judge.stability import Stability, assess
from kit.records import LatencyRecord
from tests.proofs import slowed_device

RUNS, INFERENCES = 50, 240
HELD_BACK = ("throttling", "clock change")

pytestmark = pytest.mark.skipif(
    slowed_device.PLACE is None and os.environ.get("CI") != "true", reason="no control groups for this user"
)


@dataclass
class Tally:
    """What runs of one kind were called."""

    records: list[LatencyRecord] = field(default_factory=list)

    def found(self) -> list[Stability]:
        return [assess(record) for record in self.records]

    def unstable(self) -> int:
        return sum(found.state == "unstable" for found in self.found())

    def called_throttled(self) -> int:
        return sum(any(cause.kind in HELD_BACK for cause in found.causes) for found in self.found())

    def unstable_by_samples(self) -> int:
        return sum(assess(replace(record, telemetry=())).state == "unstable" for record in self.records)

    def told(self, name: str) -> str:
        kinds = [found.causes[0].kind if found.causes else found.state for found in self.found()]
        counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds)))
        return f"{name}: {len(kinds)} runs: {counts}; unstable by samples alone {self.unstable_by_samples()}"


def slowdown(record: LatencyRecord) -> float:
    """Mean of the second half over that of the first."""
    first, second = np.array_split(record.samples_ns.astype(np.float64), 2)
    return float(second.mean() / first.mean())


def runs(count: int) -> tuple[Tally, Tally]:
    """Runs left alone and runs held back, in turn, on one device."""
    alone, held = Tally(), Tally()
    with slowed_device.throttled_device() as (device, throttle, digest):
        for _ in range(count):
            alone.records.append(slowed_device.timed(device, throttle, digest, INFERENCES, slower=False))
            held.records.append(slowed_device.timed(device, throttle, digest, INFERENCES, slower=True))
    return alone, held


def show(alone: Tally, held: Tally) -> None:
    for name, tally in (("left alone", alone), ("slowed half way", held)):
        ratios = [slowdown(record) for record in tally.records]
        middle, least, most = np.median(ratios), min(ratios), max(ratios)
        print(f"{tally.told(name)}; second half {middle:.2f} times the first [{least:.2f}, {most:.2f}]")
    for record, found in zip(alone.records, alone.found(), strict=True):
        if found.state != "stable":
            print(f"  left alone, {slowdown(record):.2f} times: {'; '.join(c.sentence for c in found.causes)}")


def test_a_slowed_device_is_caught() -> None:
    alone, held = runs(1)
    show(alone, held)
    assert held.unstable() == 1
    assert alone.called_throttled() == 0


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_fifty_slowed_devices_are_caught_and_fifty_others_are_not_called_throttled() -> None:
    alone, held = runs(RUNS)
    show(alone, held)
    assert held.unstable() == RUNS
    assert held.unstable_by_samples() >= 0.9 * RUNS, "telemetry names; samples must show"
    assert alone.called_throttled() <= 1
