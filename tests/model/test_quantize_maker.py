"""One maker of variants: what it does once, what it keeps, and that its order of work changes no byte."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kit.errors import ModelError, UsageError
from kit.model.calibrate import Method
from kit.model.metadata import properties
from kit.model.quantize import MAX_CALIBRATION_ROWS, VariantMaker, make_variant, method_of
from kit.records import Recipe
from kit.spec.recipe import parse_recipe
from tests.model.nets import cnn, mlp, normal, two_inputs

DATA = "sha256:" + "a" * 64
ROWS = normal(9, 40, 64)


class Passes:
    """Counts passes over the calibration rows, by their progress."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, done: int, total: int) -> None:
        self.count += done == total


@pytest.fixture
def maker() -> VariantMaker:
    return VariantMaker(mlp(), ROWS, DATA)


def test_a_call_of_the_quantizer_is_counted_and_fp32_is_none(maker: VariantMaker) -> None:
    assert maker.calls == 0
    maker.make(parse_recipe("fp32"))
    assert maker.calls == 0
    for number, name in enumerate(("int8-per-tensor", "int8-per-channel", "int8-dynamic"), start=1):
        maker.make(parse_recipe(name))
        assert maker.calls == number


def test_a_recipe_that_is_refused_before_costs_no_call(maker: VariantMaker) -> None:
    with pytest.raises(UsageError):
        maker.make(replace(parse_recipe("int8-per-tensor"), keep_float=("nobody",)))
    assert maker.calls == 0


def test_ranges_are_found_once_a_method(maker: VariantMaker) -> None:
    passes = Passes()
    for name in ("int8-per-tensor", "int8-per-channel", "int8-s8s8", "int8-u8u8"):
        maker.make(parse_recipe(name), passes)
    assert passes.count == 1, "all of them use the extremes"
    maker.make(parse_recipe("int8-per-tensor+entropy"), passes)
    assert passes.count == 2
    maker.make(parse_recipe("int8-per-channel+entropy"), passes)
    assert passes.count == 2


def test_methods_that_are_wanted_share_one_pass(maker: VariantMaker) -> None:
    names = ("minmax", "moving-average", "percentile=99.9", "entropy", "mse")
    recipes = [parse_recipe(f"int8-per-channel+{name}") for name in names]
    maker.want(method_of(recipe) for recipe in recipes)
    passes = Passes()
    together = [maker.make(recipe, passes).record.model.digest for recipe in recipes]
    assert passes.count == 1
    apart = [make_variant(mlp(), recipe, ROWS, DATA).record.model.digest for recipe in recipes]
    assert together == apart, "finding them together changes no threshold"


def test_percentiles_are_methods_of_their_own(maker: VariantMaker) -> None:
    low, high = (maker.ranges(Method("percentile", share)) for share in (90.0, 100.0))
    extremes = maker.ranges(Method("minmax"))
    assert low["x"][1] < high["x"][1]
    assert high["x"] == pytest.approx(extremes["x"], rel=1e-2)


def test_ranges_are_of_what_int8_may_hold_and_of_nothing_else(maker: VariantMaker) -> None:
    ranges = maker.ranges(Method("minmax"))
    assert "x" in ranges
    assert "y" not in ranges, "scores stay in float"
    assert "w1" not in ranges, "weights are no activations"
    assert ranges["x"] == pytest.approx((float(ROWS.min()), float(ROWS.max())))


def test_the_order_of_recipes_changes_no_byte() -> None:
    names = ["int8-per-channel", "fp16", "int8-dynamic", "int4-weights", "int8-per-tensor+equalize", "int8-u8u8"]
    forward = {name: VariantMaker(mlp(), ROWS, DATA).make(parse_recipe(name)).data for name in names}
    one = VariantMaker(mlp(), ROWS, DATA)
    backward = {name: one.make(parse_recipe(name)).data for name in reversed(names)}
    assert forward == backward


def test_the_prepared_model_is_made_once_and_left_as_it_is(maker: VariantMaker) -> None:
    prepared = maker.prepared()
    before = prepared.proto.SerializeToString(deterministic=True)
    for name in ("int8-per-channel", "int8-dynamic", "fp16", "int8-weights", "int8-per-channel+equalize+bias"):
        maker.make(parse_recipe(name))
    assert maker.prepared() is prepared
    assert prepared.proto.SerializeToString(deterministic=True) == before


def test_equalized_models_have_ranges_of_their_own() -> None:
    maker = VariantMaker(cnn(), normal(9, 16, 3, 16, 16), DATA)
    plain, equalized = (maker.make(parse_recipe(f"int8-per-tensor{end}")) for end in ("", "+equalize"))
    assert plain.data != equalized.data
    assert maker.ranges(Method("minmax")) != maker.ranges(Method("minmax"), equalize=True)
    assert maker.prepared(equalize=True).proto != maker.prepared().proto


def test_the_recipe_in_the_file_is_the_whole_recipe(maker: VariantMaker) -> None:
    recipe = Recipe(
        name="mine/one",
        precision="int8",
        per_channel=True,
        activation_dtype="int8",
        weight_dtype="int8",
        calibration="percentile",
        percentile=99.5,
        keep_float=("name:/head/*",),
    )
    variant = maker.make(recipe)
    written = json.loads(properties(variant.model.proto)["edgeproof.recipe"])
    assert written["percentile"] == 99.5
    assert written["keep_float"] == ["name:/head/*"]
    assert written["name"] == "mine/one"
    assert variant.record.model.name == "net.mine_one.onnx", "a name of a file, without folders"


def test_calibration_is_lineage_only_where_it_was_looked_at(maker: VariantMaker) -> None:
    for name, looked in (("int8-per-tensor", True), ("fp16", True), ("int8-dynamic", False), ("int8-weights", False)):
        variant = maker.make(parse_recipe(name))
        assert (variant.record.calibration_digest == DATA) == looked
        assert (variant.record.calibration_rows == len(ROWS)) == looked
        assert ("edgeproof.calibration" in properties(variant.model.proto)) == looked


def test_rows_of_several_inputs_are_thinned_alike() -> None:
    count = MAX_CALIBRATION_ROWS + 100
    rows = {"left": normal(1, count, 32), "right": normal(2, count, 16)}
    maker = VariantMaker(two_inputs(), rows, DATA)
    assert maker.feeds is not None
    assert {len(each) for each in maker.feeds.values()} == {MAX_CALIBRATION_ROWS}
    np.testing.assert_array_equal(maker.feeds["left"][-1], rows["left"][-1])
    assert maker.make(parse_recipe("int8-per-tensor")).record.calibration_rows == MAX_CALIBRATION_ROWS


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"left": normal(1, 4, 32)}, "no rows for input 'right'"),
        ({"left": normal(1, 4, 32), "right": normal(2, 5, 16)}, "different numbers of rows"),
        ({"left": normal(1, 4, 32), "right": normal(2, 4, 16), "up": normal(3, 4, 1)}, "'up', which is no input"),
        ({"left": normal(1, 4, 31), "right": normal(2, 4, 16)}, "does not take rows of shape"),
        (normal(1, 4, 32), "the model has 2 inputs"),
    ],
    ids=["missing", "lengths", "extra", "shape", "one-array"],
)
def test_rows_that_do_not_fit_are_refused_at_once(rows, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        VariantMaker(two_inputs(), rows, DATA)
    assert caught.value.next_step


@pytest.mark.parametrize("rows", [None, np.zeros((0, 64), np.float32), {"x": np.zeros((0, 64), np.float32)}])
def test_without_rows_only_static_int8_is_refused(rows) -> None:
    maker = VariantMaker(mlp(), rows, DATA)
    for name in ("fp32", "fp16", "int8-dynamic", "int8-weights"):
        maker.make(parse_recipe(name))
    with pytest.raises(UsageError, match="needs calibration rows"):
        maker.make(parse_recipe("int8-per-channel"))
    with pytest.raises(UsageError, match="needs calibration rows"):
        maker.ranges(Method("minmax"))


def test_larger_than_its_parent_is_said_with_both_sizes() -> None:
    from onnx import helper

    from tests.model.nets import load

    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    tiny = load([node], {"w": normal(1, 8, 4)}, {"x": ["n", 8]}, {"y": ["n", 4]})
    record = make_variant(tiny, parse_recipe("int8-per-channel"), normal(2, 8, 8), DATA).record
    kilobytes = f"{record.model.size_bytes / 1000:.1f} kB against {tiny.record.size_bytes / 1000:.1f} kB"
    assert record.notes == (f"larger than its parent: {kilobytes}",)
