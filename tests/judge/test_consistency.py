"""Records that cannot be measurements of this run are refused, with a sentence, before anything is judged."""

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import EdgeproofError, MeasurementError
from kit.judge import judge
from kit.records import Evidence, MeterAccuracy, Obtained, UncertaintyRecord
from tests.builders import FP32, INT8_CHANNEL, INT8_REDUCED, device, digest_of, evidence, profile

MEASURED = (FP32, replace(INT8_CHANNEL, energy_obtained="measured"), replace(INT8_REDUCED, energy_obtained="measured"))
EVIDENCE = evidence(MEASURED, rows=420, clusters=14)
INT8 = 1
Path = tuple[str | int, ...]


def changed(of: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """A copy of the records `of` in which the value at `path` is changed."""
    if not path:
        return change(of)
    key, rest = path[0], path[1:]
    if isinstance(of, tuple):
        assert isinstance(key, int)
        return (*of[:key], changed(of[key], rest, change), *of[key + 1 :])
    if isinstance(of, dict):
        return of | {key: changed(of[key], rest, change)}
    return replace(of, **{str(key): changed(getattr(of, str(key)), rest, change)})


def with_value(index: int, value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        copy = array.copy()
        copy.flat[index] = value
        return copy

    return change


def to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def of_variant(*path: str | int) -> Path:
    return ("variants", INT8, *path)


REFUSED: tuple[tuple[Path, Callable[[Any], Any], str], ...] = (
    (("dataset", "weights"), to(np.where(np.arange(420) == 7, 1e7, 1.0)), "and one of 1; the largest is at most"),
    (("dataset", "weights"), to(np.full(420, 1e200)), "they are within 1e-100 and"),
    (("reference_predictions", "decisions"), lambda d: (d + 1) % 7, "decision of row 0 is not the largest"),
    (of_variant("predictions", "decisions"), lambda d: (d + 1) % 7, "decision of row 0 is not the largest"),
    (of_variant("predictions", "scores"), np.zeros_like, "is not the largest of its scores"),
    (of_variant("exact_predictions", "decisions"), with_value(3, 7), "decisions: row 3 is 7, and there are 7"),
    (of_variant("saturating_predictions", "decisions"), with_value(3, -1), "decisions: row 3 is -1"),
    (of_variant("predictions", "decisions"), lambda d: d.astype(np.float64), "decisions is float64"),
    (of_variant("predictions", "decisions"), lambda d: d[:, None], r"decisions is int64 \[420, 1\]"),
    (of_variant("predictions", "decisions"), lambda d: d[0], "decisions is int64"),
    (of_variant("predictions", "scores"), lambda s: s.astype(np.float64), "scores is float64"),
    (of_variant("predictions", "scores"), lambda s: s[:, :-1], r"scores is float32 \[420, 6\]"),
    (of_variant("predictions", "scores"), with_value(0, np.nan), "no finite numbers"),
    (of_variant("predictions", "scores"), with_value(0, np.inf), "no finite numbers"),
    (of_variant("predictions", "arithmetic"), to("saturating"), "by saturating arithmetic, not default"),
    (of_variant("exact_predictions", "arithmetic"), to("default"), "by default arithmetic, not exact"),
    (("reference_predictions", "obtained"), to("estimated"), "the reference's predictions are estimated"),
    (of_variant("saturating_predictions", "obtained"), to("estimated"), "computed, these are estimated"),
    (of_variant("exact_predictions", "obtained"), to("computed"), "measured on the device, these are computed"),
    (("dataset", "labels"), with_value(5, 7), "labels: row 5 is 7, and there are 7"),
    (("dataset", "labels"), with_value(5, -1), "labels: row 5 is -1"),
    (("dataset", "labels"), lambda a: a.astype(np.float32), "labels is float32"),
    (("dataset", "cluster"), lambda a: a[:-1], r"cluster is int64 \[419\]"),
    (("dataset", "columns", "side", "codes"), with_value(0, 2), "column side: row 0 is 2, and there are 2"),
    (("dataset", "cluster_column"), to(None), "rows share a cluster"),
    (("dataset", "rows"), to(0), "0 rows"),
    (("dataset", "classes"), to(()), "in 0 classes"),
    (of_variant("latency", "samples_ns"), lambda a: a.astype(np.float64), "latency samples is float64"),
    (of_variant("latency", "samples_ns"), lambda a: a[:, None], "latency samples is int64"),
    (of_variant("latency", "samples_ns"), lambda a: a[0], "latency samples is int64"),
    (of_variant("latency", "samples_ns"), with_value(9, -1), "no times"),
    (of_variant("latency", "samples_ns"), np.zeros_like, "no times"),
    (of_variant("latency", "warmup_count"), to(-1), "-1 of 2050 latency samples"),
    (of_variant("latency", "starts_ns"), lambda _: np.arange(2049), r"starts of latency samples is int64 \[2049\]"),
    (of_variant("latency", "window_counts"), lambda _: np.array([2000, 49]), "windows that do not hold"),
    (of_variant("latency", "window_counts"), lambda _: np.array([2051, -1]), "windows that do not hold"),
    (of_variant("latency", "warmup_count"), to(2051), "2051 of 2050 latency samples"),
    (of_variant("latency", "variant_digest"), to(digest_of("x")), "LatencyRecord is of another model"),
    (of_variant("memory", "variant_digest"), to(digest_of("x")), "MemoryRecord is of another model"),
    (of_variant("energy", "variant_digest"), to(digest_of("x")), "EnergyRecord is of another model"),
    (of_variant("memory", "peak_bytes"), lambda a: a[:2], "steady_bytes is int64"),
    (of_variant("memory", "peak_bytes"), with_value(0, -1), "negative amount"),
    (of_variant("memory", "steady_bytes"), lambda a: a.astype(np.float64), "steady_bytes is float64"),
    (of_variant("energy", "window_energy_j"), with_value(0, np.nan), "values that no device has"),
    (of_variant("energy", "window_energy_j"), with_value(0, 1e300), "values that no device has"),
    (of_variant("energy", "window_s"), with_value(0, 0.0), "without time or inferences"),
    (of_variant("energy", "window_s"), lambda a: a[1:], "window_s is float64"),
    (of_variant("energy", "window_inferences"), with_value(0, 0), "without time or inferences"),
    (of_variant("energy", "idle_power_w"), to(float("nan")), "idle_power_w is nan"),
    (of_variant("energy", "trace_power_w"), lambda a: a[1:], "trace_power_w is float64"),
    (of_variant("energy", "windows_ns"), to(np.zeros((3, 2), np.int64)), "windows_ns is int64"),
    (of_variant("energy", "idle_window_power_w"), to(np.zeros(3, np.float32)), "idle_window_power_w is float32"),
    (of_variant("energy", "idle_window_power_w"), to(np.array([np.nan])), "idle_window_power_w has values"),
    (of_variant("energy", "meter", "accuracy"), to(MeterAccuracy(-0.1, 0, 0, "")), "an accuracy or uncertainty"),
    (of_variant("energy", "uncertainty"), to(UncertaintyRecord(0, math.nan, 0, 0, 0)), "uncertainty that is negative"),
    (of_variant("energy", "meter", "obtained"), to("estimated"), "said to be measured, its meter is estimated"),
    (of_variant("energy", "meter", "obtained"), to("emulated"), "said to be measured, its meter is emulated"),
    (of_variant("variant", "recipe", "precision"), to("fp32"), "fp32 variant is not the reference's file"),
    (("variants", 0, "variant", "recipe", "precision"), to("int8"), "int8 variant is the reference's file"),
    (("variants", 0, "variant", "model", "size_bytes"), to(1), "a model file of 1 bytes"),
    (of_variant("variant", "model", "size_bytes"), to(-5), "a model file of -5 bytes"),
    (of_variant("variant", "parent_digest"), to(digest_of("x")), "made from another model"),
    (of_variant("variant", "saturation", "can_saturate"), to(False), "can_saturate is False, with 2 nodes"),
    (("variants", 2, "variant", "saturation", "worst_pair"), to(40_000), "40000 exceeds 32767"),
    (of_variant("variant", "saturation", "quantized_nodes"), to(0), "2 nodes at risk"),
)


def test_the_records_are_fine_before_they_are_changed() -> None:
    judge(EVIDENCE, profile(), device())


@pytest.mark.parametrize(("path", "change", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_does_not_belong_together_is_refused(path: Path, change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(MeasurementError, match=said) as refused:
        judge(changed(EVIDENCE, path, change), profile(), device())
    assert refused.value.where
    assert refused.value.next_step


def test_what_a_device_may_give_is_not_refused() -> None:
    """A coarse clock's 0 ns, an agent that found more emulated parts, a trace whose first power is NaN."""
    fine: tuple[tuple[Path, Callable[[Any], Any]], ...] = (
        (of_variant("latency", "samples_ns"), with_value(9, 0)),
        (("device", "emulated"), to(("processor (QEMU)",))),
        (of_variant("energy", "trace_power_w"), with_value(0, np.nan)),
        (of_variant("energy", "obtained"), to("estimated")),
        (of_variant("variant", "saturation", "worst_pair"), to(-65_280)),
        (of_variant("latency", "warmup_count"), to(2050)),
    )
    for path, change in fine:
        judge(changed(EVIDENCE, path, change), profile(), device())


def test_parts_that_the_device_file_calls_emulated_must_be_on_record() -> None:
    with pytest.raises(MeasurementError, match="does not say that meter, processor is emulated"):
        judge(EVIDENCE, profile(), device(emulated=("processor", "meter")))
    more = changed(EVIDENCE, ("device", "emulated"), to(("meter", "processor", "processor (QEMU)")))
    judge(more, profile(), device(emulated=("processor", "meter")))


def paths_of(value: Any, path: Path = ()) -> list[Path]:
    """Every leaf of the records: arrays, numbers and texts."""
    if is_dataclass(value):
        return [p for field in fields(value) for p in paths_of(getattr(value, field.name), (*path, field.name))]
    if isinstance(value, dict):
        return [p for key, inner in value.items() for p in paths_of(inner, (*path, key))]
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return [p for index, inner in enumerate(value) for p in paths_of(inner, (*path, index))]
    return [path]


PATHS = paths_of(EVIDENCE)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 9)
FLOATS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -1.0, 1e-300, 1e300])
SHAPES: tuple[Callable[[Any], Any], ...] = (
    lambda a: a[:0], lambda a: a[:1], lambda a: a[:2], lambda a: a[1:], lambda a: a[..., None], lambda a: a.ravel()[0:],
    lambda a: a.astype(np.float64), lambda a: a.astype(np.float32), lambda a: a.astype(np.int64), lambda a: a.T,
    np.zeros_like, np.ones_like, lambda a: a[::-1].copy(), lambda a: np.full_like(a, a.flat[0]), np.sort,
    lambda a: np.asarray(a.flat[0]), lambda a: np.concatenate([a, a]),
)  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Path, Callable[[Any], Any]]:
    path = draw(st.sampled_from(PATHS))
    return path, lambda value: mutated(draw, value)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return value
        if draw(st.booleans()) or not value.size:
            with np.errstate(all="ignore"):
                return draw(st.sampled_from(SHAPES))(value) if value.size else value
        number = draw(NUMBERS if value.dtype == np.int64 else FLOATS)
        with np.errstate(all="ignore"):
            if draw(st.booleans()):
                return np.full_like(value, number)
            return with_value(draw(st.integers(0, value.size - 1)), number)(value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw(NUMBERS)
    if isinstance(value, float):
        return draw(FLOATS)
    if isinstance(value, tuple):
        return draw(st.sampled_from([(), value[:1], value[1:], value * 2]))
    if value in get_args(Obtained):
        return draw(st.sampled_from(get_args(Obtained)))
    if value in ("fp32", "int8"):
        return draw(st.sampled_from(["fp32", "int8"]))
    return draw(st.sampled_from(["", "x", value * 2])) if isinstance(value, str) else None


@given(chosen=st.lists(mutations(), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("error")
def test_no_records_at_all_make_judging_fail_otherwise(chosen: list[tuple[Path, Callable[[Any], Any]]]) -> None:
    given_: Evidence = EVIDENCE
    for path, change in chosen:
        given_ = changed(given_, path, change)
    try:
        judge(given_, profile(), device())
    except EdgeproofError as error:
        said = (error.what, error.next_step)
        assert all(said)
