"""Preparation does for the user what quantizers want done first, and says what it could not do."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from kit.errors import ModelError
from kit.model.graph import unshare_biases, unshare_weights, untyped
from kit.model.metadata import main_opset
from kit.model.quantize import VariantMaker, prepare
from kit.model.session import HostSession, runs_exactly
from kit.spec.recipe import parse_recipe
from tests.model.nets import cnn, load, mlp, normal

DATA = "sha256:" + "a" * 64


def types(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def same(reference, prepared, rows) -> None:
    before = HostSession(reference.data).run(rows)
    after = HostSession(prepared.proto.SerializeToString()).run(rows)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_disappears_into_its_convolution() -> None:
    reference = cnn()
    prepared = prepare(reference)
    assert "BatchNormalization" in types(reference.proto)
    assert types(prepared.proto) == ["Conv", "Relu", "Conv", "ReduceMean", "MatMul"]
    assert prepared.skipped == ()
    same(reference, prepared, normal(1, 5, 3, 16, 16))


def test_every_tensor_has_a_type_and_every_node_a_name() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], "twice"),
        helper.make_node("MatMul", ["b", "w"], ["c"], "twice"),
        helper.make_node("Relu", ["c"], ["y"], "twice"),
    ]
    prepared = prepare(load(nodes, {"w": normal(1, 8, 8)}, {"x": ["n", 8]}, {"y": ["n", 8]}))
    names = [node.name for node in prepared.proto.graph.node]
    assert len(set(names)) == len(names) == 4
    assert all(names)
    assert not untyped(prepared.proto.graph)


def test_constants_are_folded_where_that_costs_little() -> None:
    nodes = [
        helper.make_node("Mul", ["w", "two"], ["doubled"]),
        helper.make_node("MatMul", ["x", "doubled"], ["y"]),
    ]
    prepared = prepare(load(nodes, {"w": normal(1, 32, 32), "two": np.float32(2)}, {"x": ["n", 32]}, {"y": ["n", 32]}))
    assert types(prepared.proto) == ["MatMul"]


def bank(size: int):
    """A product with a matrix that is computed from one row of numbers: small in the file, large when folded."""
    nodes = [
        helper.make_node("Unsqueeze", ["line", "zero"], ["row"]),
        helper.make_node("Unsqueeze", ["line", "one"], ["column"]),
        helper.make_node("Mul", ["row", "column"], ["matrix"]),
        helper.make_node("MatMul", ["x", "matrix"], ["a"], "bank"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "last"),
    ]
    constants = {"line": normal(1, size), "zero": np.array([0]), "one": np.array([1]), "w": normal(2, size, 8)}
    return load(nodes, constants, {"x": ["n", size]}, {"y": ["n", 8]})


def test_a_filter_bank_stays_computed_at_run_time() -> None:
    reference = bank(256)
    prepared = prepare(reference)
    assert prepared.proto.ByteSize() < 1.2 * reference.record.size_bytes
    assert "Mul" in types(prepared.proto)
    variant = VariantMaker(reference, normal(3, 8, 256), DATA).make(parse_recipe("int8-dynamic"))
    assert variant.record.model.size_bytes < reference.record.size_bytes
    assert "MatMul bank: its weights are made at run time" in variant.record.left_in_float


@pytest.mark.parametrize("opset", [7, 9, 11, 12])
def test_old_opsets_are_raised(opset: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["y"]),
    ]
    constants = {"k": normal(1, 8, 3, 3, 3), "k2": normal(2, 4, 8, 1, 1)}
    reference = load(nodes, constants, {"x": ["n", 3, 8, 8]}, {"y": ["n", 4, 6, 6]}, opset=opset)
    prepared = prepare(reference)
    assert main_opset(prepared.proto) == 13
    assert prepared.skipped == ()
    same(reference, prepared, normal(3, 2, 3, 8, 8))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_resizing_of_old_opsets_places_pixels_as_before(opset: int, mode: str) -> None:
    """The converters of onnx and onnxruntime forget that; the result would be another function."""
    scales = np.array([1, 1, 2, 2], np.float32)
    old = {
        7: helper.make_node("Upsample", ["a"], ["b"], mode=mode, scales=scales.tolist()),
        9: helper.make_node("Upsample", ["a", "scales"], ["b"], mode=mode),
        10: helper.make_node("Resize", ["a", "scales"], ["b"], mode=mode),
    }
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"]), old[opset], helper.make_node("Conv", ["b", "k2"], ["y"])]
    constants = {"k": normal(1, 8, 3, 3, 3), "k2": normal(2, 4, 8, 1, 1)} | ({"scales": scales} if opset > 7 else {})
    reference = load(nodes, constants, {"x": [1, 3, 8, 8]}, {"y": [1, 4, 12, 12]}, opset=opset)
    prepared = prepare(reference)
    assert "Resize" in types(prepared.proto)
    assert "Upsample" not in types(prepared.proto)
    same(reference, prepared, normal(3, 2, 3, 8, 8))
    variant = VariantMaker(reference, normal(3, 4, 3, 8, 8), DATA).make(parse_recipe("int8-per-channel"))
    assert variant.record.saturation.quantized_nodes == 2


def test_newer_opsets_stay_as_they_are() -> None:
    assert main_opset(prepare(mlp()).proto) == 17


def test_what_cannot_be_done_is_said_and_the_rest_is_done() -> None:
    """An operator that the runtime lacks a kernel for stops its optimizer, not the preparation."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Det", ["m"], ["d"]),
        helper.make_node("Add", ["a", "d"], ["y"]),
    ]
    constants = {"w": normal(1, 8, 8), "m": normal(2, 3, 3).astype(np.float64)}
    model = load(nodes[:1], {"w": constants["w"]}, {"x": ["n", 8]}, {"a": ["n", 8]}).proto
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].op_type = "NoSuchOperator"
    from kit.model.load import LoadedModel
    from kit.model.metadata import record_of

    data = model.SerializeToString()
    prepared = prepare(LoadedModel(data, record_of(model, data, "odd.onnx")))
    (said,) = [line for line in prepared.skipped if line.startswith("folding")]
    assert said.startswith("folding of constants and batch norms was left out: ")
    assert "NoSuchOperator" in said
    assert prepared.proto.graph.node[0].name


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits"])
def test_what_is_quantized_already_is_refused(operator: str) -> None:
    model = mlp()
    proto = model.proto
    proto.graph.node.add(op_type=operator, name="q")
    from kit.model.load import LoadedModel

    with pytest.raises(ModelError, match="quantized already"):
        prepare(LoadedModel(proto.SerializeToString(), model.record))


def shared() -> onnx.ModelProto:
    """Two convolutions with the same weights and the same bias, whose copy's name is taken."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["b2"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b2"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "k", "b"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    return load(nodes, {"k": normal(1, 8, 8, 3, 3), "b": normal(2, 8)}, {"x": ["n", 8, 6, 6]}, {"y": ["n", 8, 6, 6]})


def test_shared_biases_and_weights_quantize_and_run_exactly() -> None:
    """onnxruntime's quantizer would name the second bias b2, as the first convolution's output is."""
    reference, rows = shared(), normal(3, 16, 8, 6, 6)
    variant = VariantMaker(reference, rows, DATA).make(parse_recipe("int8-per-tensor"))
    assert variant.record.saturation.quantized_nodes == 2
    exact = HostSession(variant.data, exact=True).run(rows)["y"]
    before = HostSession(reference.data).run(rows)["y"]
    assert np.abs(exact - before).max() < 0.05 * np.abs(before).max()


def test_the_exact_kernels_refuse_shared_weights_and_a_session_knows_a_way() -> None:
    variant = VariantMaker(shared(), normal(3, 16, 8, 6, 6), DATA).make(parse_recipe("int8-per-tensor"))
    apart = variant.model.proto
    unshare_weights(apart.graph)
    assert runs_exactly(apart.SerializeToString())
    rows = normal(4, 4, 8, 6, 6)
    np.testing.assert_array_equal(
        HostSession(variant.data, exact=True).run(rows)["y"],
        HostSession(apart.SerializeToString(), exact=True).run(rows)["y"],
    )
    assert runs_exactly(variant.data) == (not [note for note in variant.record.notes if "exact int8 sums" in note])


def test_unsharing_gives_each_its_own_and_changes_no_value() -> None:
    proto = shared().proto
    unshare_biases(proto.graph)
    first, second = (node for node in proto.graph.node if node.op_type == "Conv")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert first.input[2] != second.input[2]
    assert first.input[1] == second.input[1]
    np.testing.assert_array_equal(values[first.input[2]], values[second.input[2]])
    assert first.input[2] not in {name for node in proto.graph.node for name in node.output}
    before = proto.SerializeToString()
    unshare_biases(proto.graph)
    assert proto.SerializeToString() == before
