"""memory.peak with its phases: what the finding says, and which records are no measurement."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.judge import judge
from kit.judge.wellformed import check_memory
from kit.records import Finding, MemoryRecord
from tests.builders import VariantPlan, device, evidence, profile, requirement

MB = 1_000_000
RECORD = MemoryRecord(
    variant_digest="sha256:0", peak_bytes=np.array([94, 95, 96, 94, 95, 96, 94]) * MB,
    steady_bytes=np.full(7, 55 * MB), baseline_bytes=54 * MB, method="VmHWM", obtained="measured",
    load_peak_bytes=np.array([94, 95, 96, 94, 95, 96, 94]) * MB, first_run_peak_bytes=np.full(7, 51 * MB),
    steady_proportional_bytes=np.full(7, 54 * MB), arena_bytes=np.full(7, 56 * MB),
    model_bytes=48 * MB, weight_bytes=47 * MB,
)  # fmt: skip


def found(record: MemoryRecord, limit: float = 100 * MB) -> Finding:
    given = evidence([VariantPlan("int8")])
    variant = given.variants[0]
    own = replace(record, variant_digest=variant.variant.model.digest)
    asked = profile([requirement("memory.peak", limit)])
    return judge(replace(given, variants=(replace(variant, memory=own),)), asked, device()).variants[0].findings[0]


def in_phase(load: int, first: int, later: int) -> MemoryRecord:
    load_peak, first_run_peak = np.full(7, load * MB), np.full(7, first * MB)
    peak = np.full(7, max(load, first, later) * MB)
    return replace(RECORD, peak_bytes=peak, load_peak_bytes=load_peak, first_run_peak_bytes=first_run_peak)


@pytest.mark.parametrize(
    ("phases", "says"),
    [((94, 51, 51), "at its peak, while it loads"), ((1, 34, 34), "in its first run"), ((1, 34, 68), "as it runs on")],
)
@pytest.mark.parametrize("limit", [100 * MB, MB], ids=["pass", "fail"])
def test_the_reason_names_the_phase_that_has_the_peak(phases: tuple[int, int, int], says: str, limit: float) -> None:
    assert says in found(in_phase(*phases), limit).reason


def test_without_phases_no_phase_is_named() -> None:
    told = found(replace(RECORD, load_peak_bytes=None))
    assert "at its peak (upper end" in told.reason
    assert "load_peak_bytes" not in told.details


def test_details_are_medians_and_what_is_absent_is_not_there() -> None:
    assert found(RECORD).details == {
        "baseline_bytes": 54 * MB, "largest_bytes": 96 * MB, "load_peak_bytes": 95 * MB,
        "first_run_peak_bytes": 51 * MB, "steady_bytes": 55 * MB, "steady_proportional_bytes": 54 * MB,
        "arena_bytes": 56 * MB, "model_bytes": 48 * MB, "weight_bytes": 47 * MB,
    }  # fmt: skip
    old = replace(
        RECORD, load_peak_bytes=None, first_run_peak_bytes=None, steady_proportional_bytes=None, arena_bytes=None,
        model_bytes=None, weight_bytes=None,
    )  # fmt: skip
    assert set(found(old).details) == {"baseline_bytes", "largest_bytes", "steady_bytes"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"load_peak_bytes": np.full(6, MB)}, r"load_peak_bytes is int64 \[6\]"),
        ({"first_run_peak_bytes": np.full(7, 51e6)}, "first_run_peak_bytes is float64"),
        ({"steady_proportional_bytes": np.full(7, -1)}, "steady_proportional_bytes has a negative"),
        ({"arena_bytes": np.full((7, 1), MB)}, r"arena_bytes is int64 \[7, 1\]"),
        ({"load_peak_bytes": np.full(7, 97 * MB)}, "load_peak_bytes is above the peak"),
        ({"first_run_peak_bytes": np.full(7, 95 * MB)}, "first_run_peak_bytes is above the peak"),
        ({"weight_bytes": 49 * MB}, "49000000 B of weights in a file of 48000000 B"),
        ({"weight_bytes": -1}, "-1 B of weights"),
        ({"model_bytes": -1}, "of -1 B"),
    ],
)
def test_a_record_that_no_device_gives_is_refused(change: dict[str, Any], says: str) -> None:
    check_memory(RECORD, "int8")
    with pytest.raises(MeasurementError, match=says):
        check_memory(replace(RECORD, **change), "int8")


@pytest.mark.parametrize("name", ["load_peak_bytes", "arena_bytes", "model_bytes", "weight_bytes"])
def test_a_record_may_lack_what_its_device_does_not_tell(name: str) -> None:
    check_memory(replace(RECORD, **{name: None}), "int8")
