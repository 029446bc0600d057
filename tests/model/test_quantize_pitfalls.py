"""Graphs of which onnxruntime's quantizer makes another function: the int8 model must still be near the float one."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.model.load import LoadedModel, load_onnx_bytes
from kit.model.quantize import VariantMaker
from kit.model.session import quiet_runtime, runs_exactly
from kit.spec.recipe import parse_recipe
from tests.model.nets import normal

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
    constants |= {"b2": normal(5, 4), "zero": np.float32(0)}
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
