"""Graphs of which onnxruntime's quantizer makes another function: the int8 model must still be near the float one."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.load import LoadedModel, load_onnx_bytes
from kit.model.quantize import VariantMaker
from kit.model.session import quiet_runtime, runs_exactly
from kit.spec.recipe import parse_recipe
from tests.model.nets import load, normal

DATA = "sha256:" + "d" * 64
RECIPES = ["int8-per-tensor", "int8-per-channel", "int8-per-channel+equalize+bias"]
NEAR = 0.05
"""Share of the largest output that eight bits may cost these networks."""


def outputs(data: bytes, feeds: dict[str, NDArray[np.generic]], level: str) -> list[NDArray[np.float32]]:
    runtime = quiet_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    if runs_exactly(data):
        options.add_session_config_entry("session.x64quantprecision", "1")
    found: list[NDArray[np.float32]] = runtime.InferenceSession(data, options).run(None, feeds)
    return found


def far(reference: LoadedModel, data: bytes, feeds: dict[str, NDArray[np.generic]]) -> float:
    """Largest difference from the float model, as a share of its largest output, fused by the runtime or not."""
    before = outputs(reference.data, feeds, "ORT_DISABLE_ALL")
    return max(
        float(np.abs(one - other).max() / np.abs(other).max())
        for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
        for one, other in zip(outputs(data, feeds, level), before, strict=True)
    )


def branching(rectifier: str, read: str) -> LoadedModel:
    """A product, its rectified sums, and an If whose branches read one of the two."""
    branches = [
        helper.make_graph(
            [helper.make_node("Gemm", [read, weights, "b2"], [out], out)], name, [], [onnx.ValueInfoProto(name=out)]
        )
        for name, weights, out in (("then", "w2", "t"), ("else", "w3", "e"))
    ]
    limits = ["zero"] if rectifier == "Clip" else []
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "first"),
        helper.make_node(rectifier, ["a", *limits], ["c"], "rectifier"),
        helper.make_node("Gemm", ["c", "w2", "b2"], ["z"], "second"),
        helper.make_node("If", ["condition"], ["y"], "if", then_branch=branches[0], else_branch=branches[1]),
    ]
    constants = {"w": normal(1, 8, 16), "b": normal(2, 16), "w2": normal(3, 16, 4), "w3": normal(4, 16, 4)}
    constants |= {"b2": normal(5, 4), "zero": np.zeros((), np.float32)}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "branching",
        [info("x", TensorProto.FLOAT, ["n", 8]), info("condition", TensorProto.BOOL, [])],
        [info("y", TensorProto.FLOAT, ["n", 4]), info("z", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_onnx_bytes(model.SerializeToString(), "branching.onnx")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("read", ["a", "c"])
@pytest.mark.parametrize("rectifier", ["Relu", "Clip"])
def test_what_an_inner_graph_reads_is_rectified_or_not_as_before(rectifier: str, read: str, recipe: str) -> None:
    reference = branching(rectifier, read)
    rows = normal(6, 40, 8)
    variant = VariantMaker(reference, {"x": rows, "condition": np.ones(40, bool)}, DATA).make(parse_recipe(recipe))
    for condition in (True, False):
        assert far(reference, variant.data, {"x": rows, "condition": np.asarray(condition)}) < NEAR
    assert rectifier in [node.op_type for node in variant.model.proto.graph.node]


def near(reference: LoadedModel, recipe: str, rows: NDArray[np.float32]) -> tuple[str, ...]:
    """What the recipe leaves in float; the int8 model must be near the float one, fused or not."""
    variant = VariantMaker(reference, rows, DATA).make(parse_recipe(recipe))
    assert far(reference, variant.data, {"x": rows}) < NEAR
    return variant.record.left_in_float


def two_gemms(constants: dict[str, NDArray[np.float32]], first: dict[str, Any], second: dict[str, Any]) -> LoadedModel:
    """x [rows, 8] through Gemm, Relu and Gemm with those constants (w, b, w2 and b2) and attributes to y [rows, 4]."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "first", **first),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("Gemm", ["c", "w2", "b2"], ["y"], "second", **second),
    ]
    return load(nodes, constants, {"x": ["n", 8]}, {"y": ["n", 4]})


ALL = [*RECIPES, "int8-u8u8+per-channel", "int8-dynamic", "fp16"]


@pytest.mark.parametrize("recipe", ALL)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (0.5, 1.0), (1.0, 0.25), (2.0, 0.0)])
def test_factors_of_a_gemm_count_once(alpha: float, beta: float, recipe: str) -> None:
    constants = {"w": normal(1, 8, 16), "b": normal(2, 16) * 3, "w2": normal(3, 16, 4), "b2": normal(4, 4) * 5}
    reference = two_gemms(constants, {"alpha": alpha, "beta": beta}, {"beta": beta})
    left = near(reference, recipe, normal(5, 60, 8))
    assert left == () or (recipe == "int8-dynamic" and alpha != 1.0)


@pytest.mark.parametrize("recipe", ALL)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 16)], ids=str)
def test_addends_that_broadcast_are_biases(shape: tuple[int, ...], recipe: str) -> None:
    """The same tensor is added twice, with another factor: one of them needs a copy."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "first", beta=2.0),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("Gemm", ["c", "w2", "b"], ["y"], "second", beta=-1.0),
    ]
    constants = {"w": normal(1, 8, 16), "b": normal(2, *shape) + np.float32(2), "w2": normal(3, 16, 16)}
    reference = load(nodes, constants, {"x": ["n", 8]}, {"y": ["n", 16]})
    assert near(reference, recipe, normal(5, 60, 8)) == ()


@pytest.mark.parametrize("recipe", RECIPES)
def test_addends_by_row_stay_in_float(recipe: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "first", beta=2.0),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("Gemm", ["c", "w2"], ["y"], "second"),
    ]
    constants = {"w": normal(1, 8, 4), "b": normal(2, 4, 1) * 9, "w2": normal(3, 4, 3)}
    reference = load(nodes, constants, {"x": [4, 8]}, {"y": [4, 3]})
    rows = normal(4, 10, 4, 8)
    variant = VariantMaker(reference, rows, DATA).make(parse_recipe(recipe))
    assert far(reference, variant.data, {"x": rows[0]}) < NEAR
    (left,) = variant.record.left_in_float
    assert left == "Gemm first: what it adds differs by row, and int8 sums have one value a channel"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_factor_of_what_is_made_at_run_time_stays_in_float(recipe: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "first"),
        helper.make_node("Gemm", ["x", "w2", "a"], ["c"], "second", beta=3.0),
        helper.make_node("Relu", ["c"], ["d"], "relu"),
        helper.make_node("Gemm", ["d", "w3"], ["y"], "third"),
    ]
    constants = {"w": normal(1, 8, 16), "w2": normal(2, 8, 16), "w3": normal(3, 16, 4)}
    reference = load(nodes, constants, {"x": ["n", 8]}, {"y": ["n", 4]})
    (left,) = near(reference, recipe, normal(4, 60, 8))
    assert left == "Gemm second: what it adds is made at run time and has a factor, which int8 sums have not"


@pytest.mark.parametrize("recipe", ALL)
@pytest.mark.parametrize("hidden", [5, 8])
def test_weights_tied_with_their_transpose(hidden: int, recipe: str) -> None:
    """One scale a row and one a column are two tensors."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "encode"),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("Gemm", ["c", "w"], ["y"], "decode", transB=1),
    ]
    uneven = np.exp2(np.arange(8, dtype=np.float32) - 4).reshape(8, 1)
    reference = load(nodes, {"w": normal(1, 8, hidden) * uneven}, {"x": ["n", 8]}, {"y": ["n", 8]})
    assert near(reference, recipe, normal(2, 60, 8)) == ()


def test_weights_that_are_tied_alike_stay_one() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("MatMul", ["c", "w"], ["y"], "second"),
    ]
    reference = load(nodes, {"w": normal(1, 64, 64)}, {"x": ["n", 64]}, {"y": ["n", 64]})
    variant = VariantMaker(reference, normal(2, 60, 64), DATA).make(parse_recipe("int8-per-channel"))
    held = [tensor for tensor in variant.model.proto.graph.initializer if list(tensor.dims) == [64, 64]]
    assert len(held) == 1


@pytest.mark.parametrize("recipe", ALL)
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions_in_groups(group: int, recipe: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["a"], "conv"),
        helper.make_node("Relu", ["a"], ["c"], "relu"),
        helper.make_node("ConvTranspose", ["c", "k2", "b2"], ["y"], "up", group=group),
    ]
    constants = {
        "k": normal(1, 4, 3, 3, 3),
        "b": normal(2, 4),
        "k2": normal(3, 4, 6 // group, 3, 3),
        "b2": normal(4, 6),
    }
    reference = load(nodes, constants, {"x": ["n", 3, 8, 8]}, {"y": ["n", 6, 8, 8]})
    left = near(reference, recipe, normal(5, 20, 3, 8, 8))
    assert left == (("ConvTranspose up: onnxruntime has no dynamic form of this operator",) if "dyn" in recipe else ())


@pytest.mark.parametrize("recipe", ALL)
def test_matrices_of_three_axes_and_on_the_left(recipe: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "stack"], ["a"], "three"),
        helper.make_node("MatMul", ["left", "a"], ["c"], "left"),
        helper.make_node("MatMul", ["c", "w"], ["y"], "right"),
    ]
    constants = {"stack": normal(1, 1, 8, 6), "left": normal(2, 3, 4), "w": normal(3, 6, 5)}
    reference = load(nodes, constants, {"x": ["n", 4, 8]}, {"y": ["n", 3, 5]})
    near(reference, recipe, normal(4, 40, 4, 8))


@pytest.mark.parametrize("recipe", ["int8-per-channel+bias", "int8-per-tensor+equalize+bias"])
def test_products_without_a_bias_of_their_own_are_named_where_biases_are_corrected(recipe: str) -> None:
    """MatMul and Add over three axes, which the runtime makes no Gemm of."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Add", ["a", "b"], ["c"], "add"),
        helper.make_node("MatMul", ["c", "w2"], ["y"], "second"),
    ]
    constants = {"w": normal(1, 8, 16), "b": normal(2, 16), "w2": normal(3, 16, 4)}
    reference = load(nodes, constants, {"x": ["n", 5, 8]}, {"y": ["n", 5, 4]})
    record = VariantMaker(reference, normal(4, 40, 5, 8), DATA).make(parse_recipe(recipe)).record
    assert "biases not corrected, since these have none of their own: MatMul first, MatMul second" in record.notes


ALL_KINDS = pytest.mark.parametrize("recipe", ["int8-per-channel", "int8-dynamic", "fp16"])


@ALL_KINDS
def test_a_float_model_that_does_not_run_on_the_rows_is_named_as_that(recipe: str) -> None:
    """A table of four rows, asked for its fortieth."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
        helper.make_node("Cast", ["x"], ["places"], "places", to=TensorProto.INT64),
        helper.make_node("Gather", ["w", "places"], ["found"], "gather"),
    ]
    reference = load(nodes, {"w": normal(1, 8, 4)}, {"x": ["n", 8]}, {"y": ["n", 4], "found": ["n", 8, 4]})
    with pytest.raises(ModelError, match="the float model itself does not run on the calibration rows"):
        VariantMaker(reference, np.full((10, 8), 40, np.float32), DATA).make(parse_recipe(recipe))


@ALL_KINDS
def test_an_output_that_is_not_by_row_stands_in_no_variant_s_way(recipe: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
        helper.make_node("Identity", ["w"], ["weights"], "identity"),
    ]
    reference = load(nodes, {"w": normal(1, 8, 4)}, {"x": ["n", 8]}, {"y": ["n", 4], "weights": [8, 4]})
    rows = normal(2, 10, 8)
    made = VariantMaker(reference, rows, DATA).make(parse_recipe(recipe))
    assert far(reference, made.data, {"x": rows}) < NEAR
