"""A shorter file computes the same, bit for bit, and is much shorter."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from kit.model.load import load_onnx
from kit.model.quantize.compact import compact
from kit.model.quantize.variant import VariantMaker
from kit.model.session import HostSession
from kit.spec.recipe import BASES

WATCH = Path(__file__).parents[2] / "examples" / "watch" / "watch-cnn.onnx"
ROWS = np.random.default_rng(0).normal(0, 3, (100, 600)).astype(np.float32)
RECIPES = ("int8-per-tensor", "int8-per-channel", "int8-s8s8", "int8-u8u8", "int8-dynamic", "fp16")


@pytest.fixture(scope="module")
def maker() -> VariantMaker:
    return VariantMaker(load_onnx(WATCH), ROWS, "sha256:0")


@pytest.mark.parametrize("name", RECIPES)
def test_it_computes_the_same_in_both_arithmetics(maker: VariantMaker, name: str) -> None:
    long = maker.quantized(BASES[name]).proto
    short = onnx.ModelProto.FromString(long.SerializeToString())
    compact(short)
    before, after = long.SerializeToString(), short.SerializeToString()
    assert len(after) < len(before)
    for exact in (False, True):
        scores = [HostSession(data, exact=exact).predict(ROWS) for data in (before, after)]
        assert np.array_equal(*scores)


def test_static_int8_loses_a_third_of_its_bytes_and_no_name_of_a_node(maker: VariantMaker) -> None:
    long = maker.quantized(BASES["int8-per-channel"]).proto
    short = maker.make(BASES["int8-per-channel"])
    assert len(short.data) < 0.67 * long.ByteSize()
    plumbing = ("QuantizeLinear", "DequantizeLinear")
    kept = [node.name for node in short.model.proto.graph.node if node.op_type not in plumbing]
    assert kept == [node.name for node in long.graph.node if node.op_type not in plumbing]
    assert all(kept)


def test_interface_and_constants_of_graphs_inside_keep_their_names() -> None:
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Add", ["x", "outer_constant"], ["out"])], "b", [], [out])
    flag = helper.make_node("Constant", [], ["flag"], value=helper.make_tensor("v", onnx.TensorProto.BOOL, [], [True]))
    choose = helper.make_node("If", ["flag"], ["y"], "choose", then_branch=branch, else_branch=branch)
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in "xy")
    constant = helper.make_tensor("outer_constant", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph([flag, choose], "g", [x], [y], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = HostSession(model.SerializeToString()).predict(np.ones((1, 2), np.float32))
    compact(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["outer_constant"]
    assert np.array_equal(HostSession(model.SerializeToString()).predict(np.ones((1, 2), np.float32)), before)
