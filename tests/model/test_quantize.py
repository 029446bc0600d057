"""Variants of real models: recipes do what they say, bytes are the same every time, lineage is in the file."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.digest import digest_bytes
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert import Converted
from kit.model.load import LoadedModel, load_onnx, load_onnx_bytes
from kit.model.metadata import properties
from kit.model.quantize import MAX_CALIBRATION_ROWS, Variant, make_variant
from kit.model.quiet import quiet_logging
from kit.model.session import HostSession
from kit.spec.profile import DEFAULT_RECIPES
from kit.spec.recipe import BASES, parse_recipe

DATA = "sha256:" + "a" * 64
RECIPES = {name: BASES[name] for name in DEFAULT_RECIPES}
INT8 = [name for name in RECIPES if name != "fp32"]


@pytest.fixture(scope="session")
def variants(converted: dict[str, Converted], digits) -> dict[str, Variant]:
    return {
        name: make_variant(converted["mlp"].model, recipe, digits.train[:300], DATA) for name, recipe in RECIPES.items()
    }


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    """Typical inputs of rnet: smooth patches scaled to -1..1."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-1, 1, size=(96, 6, 6, 3)).astype(np.float32)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def weights_of(variant: Variant) -> dict[str, np.ndarray]:
    """int8 weights by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.ModelProto.FromString(variant.data).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    }


def scale_sizes(variant: Variant) -> set[int]:
    """Numbers of scales of the weights."""
    graph = onnx.ModelProto.FromString(variant.data).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    weights = weights_of(variant)
    return {
        sizes[node.input[1]] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }


def test_the_recipes_are_the_published_ones() -> None:
    assert list(RECIPES) == ["fp32", "int8-per-tensor", "int8-per-channel", "int8-per-channel-reduced"]
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert parse_recipe("fp32") == RECIPES["fp32"]
    with pytest.raises(UsageError, match="no recipe 'int4'") as caught:
        parse_recipe("int4")
    assert "int8-per-channel-reduced" in caught.value.next_step


def test_fp32_is_the_reference_itself(variants: dict[str, Variant], converted: dict[str, Converted]) -> None:
    variant = variants["fp32"]
    assert variant.data == converted["mlp"].data
    assert variant.record.model == converted["mlp"].reference
    assert variant.record.calibration_digest is None
    assert not variant.record.saturation.can_saturate


@pytest.mark.parametrize("name", INT8)
def test_int8_is_smaller_and_keeps_nearly_all_decisions(name: str, variants, digits) -> None:
    variant, reference = variants[name], variants["fp32"]
    assert variant.record.model.size_bytes == len(variant.data) < 0.7 * len(reference.data)
    exact = HostSession(variant.data, exact=True).predict(digits.test)
    float_scores = HostSession(reference.data).predict(digits.test)
    agreement = (exact.argmax(axis=1) == float_scores.argmax(axis=1)).mean()
    assert 0.97 < agreement < 1, "it must differ somewhere, or nothing was quantized"
    assert np.unique(exact).size > 1000, "scores in 8 bits would take a few hundred values"


@pytest.mark.parametrize("name", INT8)
def test_the_record_says_what_the_file_is(name: str, variants, converted) -> None:
    record = variants[name].record
    assert record.recipe is RECIPES[name]
    assert record.model.digest == digest_bytes(variants[name].data)
    assert record.model.name == f"mlp.{name}.onnx"
    assert record.parent_digest == converted["mlp"].reference.digest
    assert (record.calibration_digest, record.calibration_rows) == (DATA, 300)
    assert record.model.inputs == converted["mlp"].reference.inputs
    assert record.model.outputs == converted["mlp"].reference.outputs
    assert record.saturation.quantized_nodes == 2


@pytest.mark.parametrize("name", INT8)
def test_lineage_is_inside_the_file(name: str, variants, converted) -> None:
    found = properties(onnx.ModelProto.FromString(variants[name].data))
    assert found["edgeproof.parent"] == converted["mlp"].reference.digest
    assert found["edgeproof.calibration"] == DATA
    assert found["edgeproof.calibration_rows"] == "300"
    assert json.loads(found["edgeproof.recipe"]) == json.loads(json.dumps(asdict(RECIPES[name])))
    assert found["edgeproof.tool"].startswith("edgeproof ")
    assert json.loads(found["edgeproof.classes"])[3] == "3"
    assert not [key for key in found if "onnx.quant" in key or "infer" in key]


@pytest.mark.parametrize("name", INT8)
def test_a_variant_passes_the_checks_of_any_model(name: str, variants) -> None:
    assert load_onnx_bytes(variants[name].data, "variant").record.digest == variants[name].record.model.digest
    assert variants[name].model.proto.graph.node


def test_per_tensor_and_per_channel_scales(variants) -> None:
    assert scale_sizes(variants["int8-per-tensor"]) == {1}
    assert scale_sizes(variants["int8-per-channel"]) == {32, 10}
    assert scale_sizes(variants["int8-per-channel-reduced"]) == {32, 10}
    digests = {variant.record.model.digest for variant in variants.values()}
    assert len(digests) == len(RECIPES)


def test_reduced_range_uses_seven_bits_and_cannot_saturate(variants) -> None:
    full, reduced = variants["int8-per-channel"], variants["int8-per-channel-reduced"]
    assert max(np.abs(w.astype(int)).max() for w in weights_of(full).values()) == 127
    assert max(np.abs(w.astype(int)).max() for w in weights_of(reduced).values()) == 64
    assert full.record.saturation.can_saturate
    assert len(full.record.saturation.nodes_at_risk) == 2
    assert not reduced.record.saturation.can_saturate
    assert reduced.record.saturation.nodes_at_risk == ()
    assert abs(reduced.record.saturation.worst_pair) <= reduced.record.saturation.limit == 32767


def test_activations_are_unsigned_and_weights_signed(variants) -> None:
    graph = onnx.ModelProto.FromString(variants["int8-per-channel"].data).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    points = {types[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert points == {TensorProto.UINT8}


def test_what_stayed_in_float_is_said_with_the_reason(variants, converted, digits) -> None:
    (softmax,) = variants["int8-per-channel"].record.left_in_float
    assert softmax.startswith("Softmax ")
    assert "tie" in softmax
    scaled = make_variant(converted["pipeline"].model, RECIPES["int8-per-tensor"], digits.train, DATA)
    kinds = [line.split()[0] for line in scaled.record.left_in_float]
    assert kinds == ["Sub", "Div", "Softmax"]
    assert "no int8 form" in scaled.record.left_in_float[0]


_MAKE = """
import sys, numpy as np
from pathlib import Path
from kit.model.load import load_onnx
from kit.model.quantize import make_variant
from kit.spec.profile import DEFAULT_RECIPES
from kit.spec.recipe import BASES
rows = np.load(sys.argv[2])
for recipe in [BASES[name] for name in DEFAULT_RECIPES]:
    print(make_variant(load_onnx(Path(sys.argv[1])), recipe, rows, sys.argv[3]).record.model.digest)
"""


def test_bytes_are_the_same_in_every_process(variants, converted, digits, tmp_path: Path) -> None:
    """Neither the order of sets, nor names of temporary files, nor the clock may reach the file."""
    (tmp_path / "mlp.onnx").write_bytes(converted["mlp"].data)
    np.save(tmp_path / "rows.npy", digits.train[:300])
    expected = [variant.record.model.digest for variant in variants.values()]
    command = [sys.executable, "-c", _MAKE, str(tmp_path / "mlp.onnx"), str(tmp_path / "rows.npy"), DATA]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TMPDIR": str(tmp_path)}
        root = Path(__file__).parents[2]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected
        assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlp.onnx", "rows.npy"]


def test_nothing_is_printed_logged_or_left_behind(
    converted, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers = list(logging.getLogger().handlers)
    make_variant(converted["mlp"].model, RECIPES["int8-per-channel"], digits.train, DATA)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().manager.disable == logging.NOTSET


def test_an_interrupt_leaves_nothing_behind(converted, digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_variant(converted["mlp"].model, RECIPES["int8-per-tensor"], digits.train, DATA, interrupt)
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger().manager.disable == logging.NOTSET


def test_logging_works_again_after_a_failure_inside() -> None:
    with pytest.raises(ValueError), quiet_logging():
        raise ValueError
    assert logging.getLogger().isEnabledFor(logging.CRITICAL)


def test_calibration_ranges_are_the_extremes_of_all_rows(converted, digits) -> None:
    """The first activation is the input itself: its scale must cover rows of every batch, not of the last."""
    rows = digits.train[:400].copy()
    rows[10, 20], rows[390, 3] = 51.0, -51.0
    variant = make_variant(converted["mlp"].model, RECIPES["int8-per-tensor"], rows, DATA)
    graph = onnx.ModelProto.FromString(variant.data).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    assert float(values[first.input[1]]) == pytest.approx(102 / 255, rel=1e-6)


def test_many_calibration_rows_are_thinned_evenly_and_progress_is_told(converted, digits) -> None:
    rows = np.concatenate([digits.train, digits.test])
    seen: list[tuple[int, int]] = []
    variant = make_variant(
        converted["mlp"].model, RECIPES["int8-per-tensor"], rows, DATA, lambda done, total: seen.append((done, total))
    )
    assert variant.record.calibration_rows == MAX_CALIBRATION_ROWS == seen[-1][0] == seen[-1][1]
    assert len(seen) > 1


@pytest.mark.parametrize("rows", [None, np.zeros((0, 64), np.float32)])
def test_int8_without_calibration_rows_is_refused(rows, converted) -> None:
    with pytest.raises(UsageError, match="needs calibration rows"):
        make_variant(converted["mlp"].model, RECIPES["int8-per-tensor"], rows, DATA)


def test_calibration_rows_that_do_not_fit_are_refused(converted, digits) -> None:
    with pytest.raises(ModelError, match=r"does not take rows of shape"):
        make_variant(converted["mlp"].model, RECIPES["int8-per-tensor"], digits.train[:, 1:], DATA)
    with pytest.raises(ModelError, match="the rows are uint8"):
        make_variant(converted["mlp"].model, RECIPES["int8-per-tensor"], digits.train.astype(np.uint8), DATA)


def test_a_forest_has_nothing_to_quantize(converted, digits) -> None:
    with pytest.raises(ConversionError, match="has only TreeEnsembleClassifier") as caught:
        make_variant(converted["forest"].model, RECIPES["int8-per-channel"], digits.train, DATA)
    assert "fp32" in caught.value.next_step
    assert caught.value.where == "forest.onnx"


def test_a_quantized_model_is_not_quantized_again(variants, digits) -> None:
    with pytest.raises(ModelError, match="quantized already"):
        make_variant(variants["int8-per-tensor"].model, RECIPES["int8-per-tensor"], digits.train, DATA)


@pytest.mark.parametrize("name", INT8)
def test_a_network_of_others_quantizes_from_an_old_opset(name: str, rnet_path: Path, faces: np.ndarray) -> None:
    reference = load_onnx(rnet_path)
    variant = make_variant(reference, RECIPES[name], faces, DATA)
    assert variant.record.model.size_bytes < 0.35 * reference.record.size_bytes
    assert variant.record.model.opset >= 13
    assert [each.name for each in variant.record.model.outputs] == ["dense_2", "softmax_1"]
    assert variant.record.saturation.quantized_nodes == 6
    assert variant.record.saturation.can_saturate == (name != "int8-per-channel-reduced")
    assert {line.split()[0] for line in variant.record.left_in_float} == {"PRelu", "Softmax"}
    exact = HostSession(variant.data, exact=True).predict(faces, "softmax_1")
    difference = np.abs(exact - HostSession(reference.data).predict(faces, "softmax_1"))
    assert 0 < difference.mean() < 0.02


def network(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], batch: int | str = "rows") -> LoadedModel:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_onnx_bytes(model.SerializeToString(), "net.onnx")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"w1": rng.normal(size=(8, 8)).astype(np.float32), "w2": rng.normal(size=(8, 4)).astype(np.float32)}


def test_nodes_without_names_and_with_equal_names_quantize(rows, weights) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], "same"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], "same"),
        helper.make_node("Softmax", ["c"], ["y"], "same"),
    ]
    variant = make_variant(network(nodes, weights), RECIPES["int8-per-channel"], rows, DATA)
    assert variant.record.saturation.quantized_nodes == 2
    names = [node.name for node in variant.model.proto.graph.node if node.name]
    assert len(names) == len(set(names)) == 3
    assert len(variant.record.left_in_float) == 1


def test_a_batch_fixed_to_one_calibrates_row_by_row(rows, weights) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w2"], ["y"], "product")]
    fixed = network(nodes, {"w2": weights["w2"]}, batch=1)
    free = network(nodes, {"w2": weights["w2"]})
    recipe = RECIPES["int8-per-tensor"]
    one, many = (make_variant(model, recipe, rows, DATA) for model in (fixed, free))
    np.testing.assert_array_equal(
        HostSession(one.data, exact=True).predict(rows), HostSession(many.data, exact=True).predict(rows)
    )


def test_products_inside_a_branch_are_said_to_stay(rows, weights) -> None:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["h", "w2"], [name], f"in_{name}")
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], "first"),
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["flag"], "test"),
        helper.make_node("If", ["flag"], ["y"], "choose", then_branch=branch("t"), else_branch=branch("e")),
    ]
    model = network(nodes, {**weights, "zero": np.float32(0)})
    left = make_variant(model, RECIPES["int8-per-tensor"], rows, DATA).record.left_in_float
    assert sum("inside If choose" in line for line in left) == 2


def test_a_variant_larger_than_its_parent_is_returned_with_its_size(rows) -> None:
    small = {"w2": np.random.default_rng(2).normal(size=(8, 4)).astype(np.float32)}
    reference = network([helper.make_node("MatMul", ["x", "w2"], ["y"], "product")], small)
    record = make_variant(reference, RECIPES["int8-per-channel"], rows, DATA).record
    assert record.model.size_bytes > reference.record.size_bytes


def test_calibration_rows_that_overflow_are_no_silent_success(weights) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w2"], ["y"], "product")]
    model = network(nodes, {"w2": weights["w2"]})
    rows = np.full((4, 8), np.nan, np.float32)
    with pytest.raises((ConversionError, ModelError)):
        make_variant(model, RECIPES["int8-per-tensor"], rows, DATA)
