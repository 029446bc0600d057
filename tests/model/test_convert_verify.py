"""Comparing a source with its ONNX model: any number of outputs, tolerances that fit, causes that are real."""

from typing import Any

import numpy as np
import pytest

from kit.errors import ConversionError, ModelError
from kit.model.convert.verify import (
    TOLERANCE,
    compare,
    deciding_output,
    likely_cause,
    refuse_chance,
    refuse_if_different,
    refuse_untrue_shapes,
    tolerance_of,
)
from kit.records import TensorInfo

SCORES = np.array([[0.5, 0.5 - 1e-6], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def test_comparison_counts_decisions_and_forgives_only_ties() -> None:
    other = SCORES.astype(np.float32)
    other[0] = [0.5 - 1e-6, 0.5]
    other[3] = [0.4, 0.6]
    found = compare({"y": SCORES}, {"y": other}, decides="y")
    assert found.rows == 4
    assert found.differing_rows is not None
    assert found.differing_rows.tolist() == [0, 3]
    assert found.bad_rows.tolist() == [3]
    assert found.largest.max_abs_difference == pytest.approx(0.2, abs=1e-6)
    assert found.largest.max_rel_difference == pytest.approx(0.5, abs=1e-5)


def test_a_score_off_by_more_than_the_tolerance_is_no_rounding() -> None:
    source = np.array([[0.9, 0.1], [0.8, 0.2]])
    other = source + np.array([[2 * TOLERANCE, 0], [TOLERANCE / 2, 0]])
    assert compare({"y": source}, {"y": other}).bad_rows.tolist() == [0]


def test_every_output_is_compared_by_itself() -> None:
    source = {"y": SCORES, "box": np.full((4, 2, 3), 100.0), "count": np.arange(4)}
    other = {"y": SCORES, "box": source["box"] + 1e-3, "count": source["count"].copy(), "more": np.zeros(4)}
    found = compare(source, other, decides="y")
    assert [each.output for each in found.outputs] == ["y", "box", "count"]
    assert found.bad_rows.tolist() == []
    assert found.largest.output == "y"
    assert compare(source, other).largest.output == "box"
    assert compare(source, other).differing_rows is None
    other["box"][2, 1, 2] += 1
    other["count"][3] += 1
    found = compare(source, other, decides="y")
    assert {name: rows.tolist() for name, rows in found.beyond_rounding.items()} == {"y": [], "box": [2], "count": [3]}
    assert found.bad_rows.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("source", "other", "tolerance"),
    [
        (np.array([[0.5, 0.5]]), np.float32, 1e-4),
        (np.array([[0.2], [0.9]]), np.float32, 1e-4),
        (np.array([[0.5, 0.1]]), np.float32, 0.5 * 2048 * 2**-24),
        (np.array([[-1000.0, 5.0]]), np.float32, 1000 * 2048 * 2**-24),
        (np.array([[0.5, np.inf]]), np.float32, 0.5 * 2048 * 2**-24),
        (np.array([[0.0, 0.0]]), np.float32, 2**-23),
        (np.array([[3, 4]]), np.int64, 0.0),
        (np.array([[True]]), np.bool_, 0.0),
        (np.array([[8.0, 1.0]], np.float16), np.float32, 8 * 2048**0.5 * 2**-11),
    ],
    ids=["softmax", "sigmoid", "small", "large", "infinite", "zero", "integer", "bool", "half"],
)
def test_the_tolerance_fits_the_output(source: np.ndarray, other: Any, tolerance: float) -> None:
    with np.errstate(invalid="ignore"):
        assert tolerance_of(source, source.astype(other)) == pytest.approx(tolerance)


def test_a_source_may_say_its_own_tolerance() -> None:
    steps = np.array([[10, 20]], np.int8)
    assert compare({"y": steps}, {"y": steps + 1}).bad_rows.tolist() == [0]
    assert compare({"y": steps}, {"y": steps + 1}, tolerances={"y": 1.0}).bad_rows.tolist() == []


def test_values_that_are_not_finite_must_be_the_same() -> None:
    source = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, 4.0]])
    same = compare({"y": source}, {"y": source.copy()})
    assert (same.bad_rows.tolist(), same.not_finite.tolist()) == ([], [0, 1])
    assert same.largest.max_abs_difference == 0
    other = source.copy()
    other[0, 1], other[1, 0], other[2, 0] = 0.0, -np.inf, np.nan
    assert compare({"y": source}, {"y": other}).bad_rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("source", "other", "says"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), r"\[2, 3\], the ONNX model \[2, 4\]"),
        (np.zeros((2, 3)), np.zeros(2), r"\[2, 3\], the ONNX model \[2\]"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), "no finite value"),
    ],
)
def test_outputs_that_cannot_be_compared_are_an_error(source: np.ndarray, other: np.ndarray, says: str) -> None:
    with pytest.raises(ConversionError, match=says):
        compare({"y": source}, {"y": other})
    with pytest.raises(ConversionError, match=r"no output 'y'; its outputs are z"):
        compare({"y": source}, {"z": other})


def test_an_output_in_another_layout_is_named() -> None:
    source = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    with pytest.raises(ConversionError, match=r"layout\), and \.transpose\(0, 3, 1, 2\) of it is what the source"):
        compare({"y": source}, {"y": source.transpose(0, 2, 3, 1)})
    with pytest.raises(ConversionError, match="is still something else"):
        compare({"y": source}, {"y": source.transpose(0, 2, 3, 1) + 1})


def outputs(*described: tuple[str, str, tuple[int | str, ...]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(*each) for each in described)


@pytest.mark.parametrize(
    ("infos", "wanted", "chosen"),
    [
        (outputs(("p", "float32", ("rows", 3))), None, "p"),
        (outputs(("p", "float32", ("rows", "classes"))), None, "p"),
        (outputs(("value", "float32", ("rows", 1))), None, None),
        (outputs(("box", "float32", ("rows", 4)), ("p", "float32", ("rows", 2))), None, None),
        (outputs(("box", "float32", ("rows", 4)), ("p", "float32", ("rows", 2))), "p", "p"),
        (outputs(("mask", "float32", ("rows", 3, 8, 8))), None, None),
        (outputs(("label", "int64", ("rows",)), ("p", "float32", ("rows", 2))), None, "p"),
        (outputs(("label", "int64", ("rows",))), "label", None),
    ],
)
def test_which_output_decides(infos: tuple[TensorInfo, ...], wanted: str | None, chosen: str | None) -> None:
    assert deciding_output(infos, wanted) == chosen


def test_an_output_that_is_not_there_cannot_decide() -> None:
    with pytest.raises(ModelError, match="no output 'q'"):
        deciding_output(outputs(("p", "float32", ("rows", 3))), "q")


RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(30, 3, 4, 5)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(60, 3))


def predict(feeds: Any) -> dict[str, np.ndarray]:
    x = feeds["x"]
    return {"y": x.reshape(len(x), -1) @ WEIGHTS}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (IMAGES / 255, "divided by 255 (scaling)"),
        (IMAGES * 255, "multiplied by 255 (scaling)"),
        (IMAGES * 2 - 1, "-1..1 (scaling)"),
        (np.rint(IMAGES), "rounded to integers (dtype)"),
        (np.trunc(IMAGES), "cut to integers (dtype)"),
        (IMAGES.transpose(0, 2, 3, 1), "channels last (layout)"),
        (IMAGES.transpose(0, 3, 1, 2), "channels first (layout)"),
        (IMAGES.reshape(30, 4, 5, 3).transpose(0, 3, 1, 2), "as if channels were last (layout)"),
        (IMAGES.reshape(30, 5, 3, 4).transpose(0, 2, 3, 1), "as if channels were first (layout)"),
        (IMAGES.transpose(0, 1, 3, 2), "height and width exchanged (layout)"),
        (IMAGES[..., ::-1], "reversed order (channel order)"),
        (IMAGES[:, ::-1], "channels of images in reversed order"),
    ],
    ids=["div", "mul", "centre", "round", "cut", "last", "first", "as-last", "as-first", "hw", "reversed", "bgr"],
)
def test_a_change_of_the_inputs_is_recognized(changed: np.ndarray, named: str) -> None:
    assert named in likely_cause(predict, {"x": IMAGES}, predict({"x": changed}))


def test_no_cause_is_invented() -> None:
    assert likely_cause(predict, {"x": IMAGES}, {"y": predict({"x": IMAGES})["y"] + 1}) == ""


def test_with_several_inputs_the_wrong_one_is_named() -> None:
    ids = RANDOM.integers(0, 9, (30, 4))

    def two(feeds: Any) -> dict[str, np.ndarray]:
        return {"y": predict(feeds)["y"] + feeds["ids"].sum(axis=1, keepdims=True)}

    other = two({"x": IMAGES / 255, "ids": ids})
    assert likely_cause(two, {"ids": ids, "x": IMAGES}, other).endswith("divided by 255 (scaling) of 'x'")


def test_a_source_that_fails_on_a_changed_input_explains_nothing() -> None:
    def touchy(feeds: Any) -> dict[str, np.ndarray]:
        raise RuntimeError("no")

    assert likely_cause(touchy, {"x": IMAGES}, predict({"x": IMAGES})) == ""


def test_the_refusal_shows_rows_of_the_worst_output() -> None:
    source = {"y": SCORES, "box": np.zeros((4, 2)) + 5}
    other = {"y": SCORES, "box": np.array([[5.0, 5.0], [5.0, 7.5], [5.0, 5.0], [4.0, 5.0]])}
    found = compare(source, other, decides="y")
    with pytest.raises(ConversionError) as caught:
        refuse_if_different(found, source, other, lambda: "", "net.pt2")
    said = caught.value.what
    assert "2 of 4 rows differ by more than rounding, 0 in their decision (largest difference of 'box': 2.5)" in said
    assert said.endswith("row 1: 5, now 7.5; row 3: 5, now 4")
    assert caught.value.where == "net.pt2"
    refuse_if_different(compare(source, source), source, source, lambda: "never asked", "net.pt2")


@pytest.mark.parametrize(
    ("stated", "shape", "says"),
    [
        (("rows", 7), (4, 3), r"'y' states 7 values, and gives 3: \[7\] a row, which is \[3\]"),
        (("rows", 2, 5), (4, 2, 6), "states 5 values, and gives 6"),
        (("rows", 3), (4, 3, 1), "states another rank"),
        ((1, 3), (4, 2), "states 3 values, and gives 2"),
    ],
)
def test_an_output_that_is_not_as_the_model_states_is_refused(
    stated: tuple[int | str, ...], shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        refuse_untrue_shapes((TensorInfo("y", "float32", stated),), {"y": np.zeros(shape)}, "m.onnx")
    assert refused.value.where == "m.onnx"
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("stated", "shape"),
    [(("rows", 3), (4, 3)), (("rows", "n"), (4, 9)), ((3,), (4, 3)), (("boxes", 6), (4, 2, 6)), ((), (4, 5))],
    ids=["rows", "dynamic", "whole", "stacked", "unknown"],
)
def test_an_output_as_stated_stacked_or_unknown_passes(stated: tuple[int | str, ...], shape: tuple[int, ...]) -> None:
    refuse_untrue_shapes((TensorInfo("y", "float32", stated),), {"y": np.zeros(shape)}, "m.onnx")


def test_a_source_that_gives_something_else_when_run_again_decides_by_chance() -> None:
    refuse_chance({"y": SCORES}, {"y": SCORES + TOLERANCE / 2}, {}, "m")
    refuse_chance({"y": SCORES * np.nan}, {"y": SCORES * np.nan}, {}, "m")  # nothing can be said of these
    with pytest.raises(ConversionError, match=r"by chance: the same rows, run again, give another 'y' \(up to 0.1"):
        refuse_chance({"x": SCORES, "y": SCORES}, {"x": SCORES, "y": SCORES + 0.1}, {}, "m")


def test_values_near_0_have_no_relative_difference() -> None:
    values = np.array([[1e-7, 4.0], [0.0, -2.0]], np.float32)
    other = np.array([[4e-7, 4.0], [1e-8, -2.0002]], np.float32)
    (found,) = compare({"y": values}, {"y": other}).outputs
    assert found.max_abs_difference == pytest.approx(2e-4, rel=1e-2)
    assert found.max_rel_difference == pytest.approx(1e-4, rel=1e-2)


def test_an_output_of_zeros_has_no_relative_difference() -> None:
    zeros = np.zeros((3, 2), np.float32)
    (found,) = compare({"y": zeros}, {"y": zeros + np.float32(1e-8)}).outputs
    assert found.max_abs_difference == pytest.approx(1e-8)
    assert found.max_rel_difference == 0.0
