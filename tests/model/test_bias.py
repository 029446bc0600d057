"""Bias correction: the mean error that rounded weights make is gone, whatever else is quantized."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from kit.model.convert import Converted
from kit.model.quantize import VariantMaker
from kit.model.quantize.base import Prepared
from kit.model.quantize.bias import correct_bias, dequantized_constants, mean_errors
from kit.model.session import HostSession, quiet_runtime
from kit.records import TensorInfo
from kit.spec.recipe import parse_recipe
from tests.model.test_equalize import Net

DATA = "sha256:" + "b" * 64


@pytest.fixture(scope="module")
def maker(converted: dict[str, Converted], digits) -> VariantMaker:
    return VariantMaker(converted["mlp"].model, digits.train[:200], DATA)


def biases(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Float values of what each product adds."""
    graph = onnx.ModelProto.FromString(data).graph
    known = dequantized_constants(graph)
    return {
        node.name: known[node.input[2]].values for node in graph.node if len(node.input) > 2 and node.input[2] in known
    }


def test_the_mean_error_of_a_layer_is_gone(maker: VariantMaker) -> None:
    plain, corrected = (maker.make(parse_recipe(f"int8-per-tensor{each}")).data for each in ("", "+bias"))
    prepared = maker.prepared()
    graph = onnx.ModelProto.FromString(plain).graph
    known = dequantized_constants(graph)
    weights = {node.name: known[node.input[1]].values for node in graph.node if node.op_type == "Gemm"}
    assert maker.feeds is not None
    errors = mean_errors(prepared, weights, maker.feeds)
    assert len(errors) == 2
    before, after = biases(plain), biases(corrected)
    for name, error in errors.items():
        step = known[next(node for node in graph.node if node.name == name).input[2]].scale.max()
        np.testing.assert_allclose(before[name] - after[name], error, atol=1.01 * step)
        assert np.abs(error).max() > 5 * step  # there was something to correct


def test_a_mean_error_is_that_of_the_mean_input(maker: VariantMaker) -> None:
    prepared = maker.prepared()
    first = next(node for node in prepared.proto.graph.node if node.op_type == "Gemm")
    own = next(numpy_helper.to_array(each) for each in prepared.proto.graph.initializer if each.name == first.input[1])
    other = own + np.random.default_rng(0).normal(size=own.shape).astype(np.float32)
    assert maker.feeds is not None
    (rows,) = maker.feeds.values()
    transposed = any(each.name == "transB" and each.i for each in first.attribute)
    difference = (other - own).T if transposed else other - own
    alpha = next((each.f for each in first.attribute if each.name == "alpha"), 1.0)
    expected = alpha * rows.astype(np.float64).mean(axis=0) @ difference.astype(np.float64)
    found = mean_errors(prepared, {first.name: other}, maker.feeds)[first.name]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_convolution_averages_over_its_places() -> None:
    net = Net()
    output = net.conv(net.add("Relu", net.conv("x", 6, 3)), 4, 6)
    prepared = net.prepared(output)
    rows = net.rows(32)
    node = prepared.proto.graph.node[2]
    own = next(numpy_helper.to_array(each) for each in prepared.proto.graph.initializer if each.name == node.input[1])
    other = np.round(own)
    changed = onnx.ModelProto.FromString(prepared.proto.SerializeToString())
    for tensor in changed.graph.initializer:
        if tensor.name == node.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    outputs = [
        quiet_runtime()
        .InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        .run(None, {"x": rows})[0]
        for each in (prepared.proto, changed)
    ]
    found = mean_errors(_with_inputs(prepared, net), {node.name: other}, {"x": rows})[node.name]
    np.testing.assert_allclose(found, (outputs[1] - outputs[0]).mean(axis=(0, 2)), rtol=1e-4, atol=1e-5)


def _with_inputs(prepared: Prepared, net: Net) -> Prepared:
    return replace(prepared, inputs=(TensorInfo("x", "float32", net.shape),))


def test_what_is_kept_in_float_changes_no_other_correction(maker: VariantMaker) -> None:
    names = [node.name for node in maker.prepared().proto.graph.node if node.op_type == "Gemm"]
    recipe = parse_recipe("int8-per-tensor+bias")
    whole = biases(maker.make(recipe).data)
    half = biases(maker.make(replace(recipe, keep_float=(names[0],))).data)
    np.testing.assert_array_equal(whole[names[1]], half[names[1]])
    assert names[0] not in half


def test_it_runs_and_is_the_same_each_time(maker: VariantMaker, digits) -> None:
    recipe = parse_recipe("int8-per-channel+bias")
    first, second = (maker.make(recipe).data for _ in range(2))
    assert first == second
    scores = HostSession(first, exact=True).predict(digits.test)
    float_scores = HostSession(maker.reference.data).predict(digits.test)
    assert (scores.argmax(axis=1) == float_scores.argmax(axis=1)).mean() > 0.98


def test_layers_without_a_bias_stay_as_they_are() -> None:
    net = Net(shape=("batch", 12))
    hidden = net.add("Relu", net.add("MatMul", "x", net.weights(12, 8)))
    prepared = _with_inputs(net.prepared(net.add("MatMul", hidden, net.weights(8, 3))), net)
    unchanged = correct_bias(prepared.proto, prepared, {"x": net.rows()})
    assert unchanged.SerializeToString() == prepared.proto.SerializeToString()


def test_rows_that_become_many_are_counted_as_many() -> None:
    """A layer applied to each of 16 moments of a row: the mean is over rows and moments."""
    net = Net(shape=("batch", 16, 8))
    folded = net.add("Reshape", "x", net.constant(np.array([-1, 8])))
    output = net.add("Gemm", folded, net.weights(8, 4), net.weights(4))
    prepared = _with_inputs(net.prepared(output), net)
    node = prepared.proto.graph.node[-1]
    own = next(numpy_helper.to_array(each) for each in prepared.proto.graph.initializer if each.name == node.input[1])
    rows = net.rows(100) + np.float32(1)
    found = mean_errors(prepared, {node.name: np.round(own)}, {"x": rows})[node.name]
    np.testing.assert_allclose(found, rows.mean(axis=(0, 1)) @ (np.round(own) - own), rtol=1e-4, atol=1e-5)
