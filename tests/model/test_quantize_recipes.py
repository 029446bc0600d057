"""Every recipe: what becomes of weights and activations, what it refuses, and what it says."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ConversionError, MissingExtraError, UsageError
from kit.model.load import LoadedModel
from kit.model.quantize import Variant, VariantMaker, host_and_device_differ, make_variant
from kit.model.session import HostSession
from kit.spec.recipe import BASES, parse_recipe
from tests.model.nets import cnn, load, mlp, normal, two_inputs

DATA = "sha256:" + "a" * 64
ROWS = normal(9, 64, 3, 16, 16)
STATIC = [name for name, recipe in BASES.items() if recipe.precision == "int8"]
REST = [name for name in BASES if name not in (*STATIC, "fp32")]
METHODS = ["minmax", "moving-average", "percentile=99.9", "entropy", "mse"]


@pytest.fixture(scope="module")
def maker() -> VariantMaker:
    return VariantMaker(cnn(), ROWS, DATA)


@pytest.fixture(scope="module")
def made(maker: VariantMaker) -> dict[str, Variant]:
    return {name: maker.make(recipe) for name, recipe in BASES.items()}


def tensors(variant: Variant) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in variant.model.proto.graph.initializer}


def zero_point_types(variant: Variant, operator: str) -> set[int]:
    held = tensors(variant)
    nodes = [node for node in variant.model.proto.graph.node if node.op_type == operator and len(node.input) > 2]
    return {held[node.input[2]].data_type for node in nodes}


def error(variant: Variant, reference: LoadedModel, rows: np.ndarray = ROWS) -> float:
    """Largest difference of a score, as a share of the largest score."""
    before = HostSession(reference.data).run(rows)
    after = HostSession(variant.data, exact=True).run(rows)
    return max(float(np.abs(after[name] - values).max() / np.abs(values).max()) for name, values in before.items())


@pytest.mark.parametrize(
    ("name", "activation", "weight"),
    [
        ("int8-per-tensor", TensorProto.UINT8, TensorProto.INT8),
        ("int8-per-channel", TensorProto.UINT8, TensorProto.INT8),
        ("int8-s8s8", TensorProto.INT8, TensorProto.INT8),
        ("int8-u8u8", TensorProto.UINT8, TensorProto.UINT8),
    ],
)
def test_static_recipes_have_the_types_of_their_name(made, name: str, activation: int, weight: int) -> None:
    assert zero_point_types(made[name], "QuantizeLinear") == {activation}
    kernels = [t for t in tensors(made[name]).values() if len(t.dims) == 4]
    assert {tensor.data_type for tensor in kernels} == {weight}


@pytest.mark.parametrize("name", [*STATIC, *REST])
def test_every_recipe_computes_nearly_the_same(made, name: str) -> None:
    assert 0 < error(made[name], cnn()) < (0.2 if "int4" in name else 0.1)


@pytest.mark.parametrize("name", [*STATIC, *REST])
def test_every_variant_says_its_recipe_and_its_parent(made, name: str) -> None:
    record = made[name].record
    assert record.recipe == BASES[name]
    assert record.parent_size_bytes == cnn().record.size_bytes
    assert record.model.inputs == cnn().record.inputs
    assert record.model.outputs == cnn().record.outputs
    assert (record.model.size_bytes > cnn().record.size_bytes) == any("larger" in note for note in record.notes)


def test_sizes_are_in_the_order_of_the_bits(made) -> None:
    sizes = {name: variant.record.model.size_bytes for name, variant in made.items()}
    assert sizes["int8-per-tensor"] < sizes["fp16"] < sizes["fp32"]
    assert sizes["int4-weights"] < sizes["int8-weights"]


def test_only_signed_weights_in_full_range_can_saturate(made) -> None:
    risk = {name: variant.record.saturation.can_saturate for name, variant in made.items()}
    assert {name for name, can in risk.items() if can} == {
        "int8-per-tensor", "int8-per-channel", "int8-s8s8", "int8-dynamic",
    }  # fmt: skip
    assert made["int8-dynamic"].record.saturation.quantized_nodes == 3
    assert made["int8-weights"].record.saturation.quantized_nodes == 0, "its sums are float"


@pytest.mark.parametrize("method", METHODS)
def test_calibration_methods_give_ranges_of_their_own(maker: VariantMaker, made, method: str) -> None:
    variant = maker.make(parse_recipe(f"int8-per-channel+{method}"))
    assert error(variant, cnn()) < 0.3
    digests = {maker.make(parse_recipe(f"int8-per-channel+{each}")).record.model.digest for each in METHODS}
    assert len(digests) == len(METHODS)
    assert variant.record.calibration_rows == len(ROWS)


def test_per_channel_has_a_scale_for_each_output_channel(made) -> None:
    held = {name: tensors(made[name]) for name in ("int8-per-tensor", "int8-per-channel")}
    counts = {
        name: {
            int(np.prod(held[name][node.input[1]].dims))
            for node in made[name].model.proto.graph.node
            if node.op_type == "DequantizeLinear" and len(held[name].get(node.input[0], TensorProto()).dims) == 4
        }
        for name in held
    }
    assert counts == {"int8-per-tensor": {1}, "int8-per-channel": {32}}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("int8-per-channel", {"ReduceMean pool: the quantizer has no int8 form of this operator"}),
        ("int8-dynamic", set()),
        ("int8-weights", {f"Conv conv{i}: weights in blocks are for matrix products alone" for i in (1, 2)}),
        ("int4-weights", {f"Conv conv{i}: weights in blocks are for matrix products alone" for i in (1, 2)}),
        ("fp16", set()),
    ],
)
def test_what_stays_in_float_is_said_with_the_true_reason(made, name: str, left: set[str]) -> None:
    assert set(made[name].record.left_in_float) == left


def test_fp16_keeps_float32_at_its_interface_and_halves_the_file(made) -> None:
    record = made["fp16"].record
    assert {each.dtype for each in (*record.model.inputs, *record.model.outputs)} == {"float32"}
    assert record.model.size_bytes < 0.6 * cnn().record.size_bytes
    assert error(made["fp16"], cnn()) < 0.002


def test_fp16_leaves_what_would_overflow_in_float32() -> None:
    """Activations of a few thousand squared are beyond 65504; the rest is converted."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Mul", ["a", "a"], ["squares"], "square"),
        helper.make_node("ReduceMean", ["squares"], ["mean"], "mean", axes=[1], keepdims=1),
        helper.make_node("Sqrt", ["mean"], ["norm"], "root"),
        helper.make_node("Div", ["a", "norm"], ["scaled"], "scale"),
        helper.make_node("MatMul", ["scaled", "v"], ["y"], "last"),
    ]
    weights = {"w": normal(1, 32, 32, scale=60.0), "v": normal(2, 32, 8)}
    reference, rows = load(nodes, weights, {"x": ["n", 32]}, {"y": ["n", 8]}), normal(3, 32, 32)
    variant = make_variant(reference, parse_recipe("fp16"), rows, DATA)
    left = {line.split(":")[0]: line for line in variant.record.left_in_float}
    assert set(left) == {"Mul square", "ReduceMean mean", "Sqrt root"}
    assert "'squares' reaches" in left["Mul square"]
    assert "float16 ends at 65504" in left["Mul square"]
    assert error(variant, reference, rows) < 0.01
    assert variant.record.calibration_rows == 32


def test_fp16_of_a_model_with_infinities_says_that_overflow_was_not_looked_at() -> None:
    """A logarithm of zero is no range; and x86 computes float16 in float32, so a run does not tell either."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Log", ["r"], ["l"], "log"),
        helper.make_node("Exp", ["l"], ["e"], "exp"),
        helper.make_node("Add", ["a", "e"], ["y"], "add"),
    ]
    reference, rows = load(nodes, {"w": normal(1, 32, 32)}, {"x": ["n", 32]}, {"y": ["n", 32]}), normal(3, 8, 32)
    variant = make_variant(reference, parse_recipe("fp16"), rows, DATA)
    (note,) = variant.record.notes
    assert note.startswith("ranges of the typical rows could not be found (row 0: tensor 'l' is not finite: it holds ")
    assert "was not looked at" in note
    assert error(variant, reference, rows) < 0.01


@pytest.mark.parametrize(("scale", "little"), [(1.0, False), (20000.0, True)])
def test_fp16_says_how_far_typical_rows_come_and_what_does_not_show(scale: float, little: bool) -> None:
    nodes = [helper.make_node("Mul", ["x", "two"], ["a"], "up"), helper.make_node("Mul", ["a", "half"], ["y"], "down")]
    constants = {"two": np.full((1, 4), 2, np.float32), "half": np.full((1, 4), 0.5, np.float32) / np.float32(scale)}
    reference = load(nodes, constants, {"x": ["n", 4]}, {"y": ["n", 4]})
    rows = np.linspace(-0.5, 0.5, 40, dtype=np.float32).reshape(10, 4) * np.float32(scale)
    note = make_variant(reference, parse_recipe("fp16"), rows, DATA).record.notes[0]
    assert note.startswith("little headroom: ") == little
    assert f"on 10 calibration rows is {scale:.3g} ('a'), {scale / 65504:.2g} of its 65504; " in note
    assert note.endswith("an overflow on other rows would not show in its figures")


def test_fp16_of_a_row_that_is_no_number_says_so() -> None:
    rows = ROWS.copy()
    rows[5] = np.nan
    record = make_variant(cnn(), parse_recipe("fp16"), rows, DATA).record
    assert record.calibration_rows == len(rows)
    (note,) = record.notes
    assert note.startswith("ranges of the typical rows could not be found (row 5: tensor ")
    assert "nan" in note


def test_fp16_without_rows_says_that_overflow_was_not_looked_at() -> None:
    variant = make_variant(cnn(), parse_recipe("fp16"), None, None)
    assert any("was not looked at" in note for note in variant.record.notes)
    assert (variant.record.calibration_rows, variant.record.calibration_digest) == (0, None)


def test_fp16_keeps_weights_that_are_too_large() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Mul", ["a", "small"], ["b"], "down"),
        helper.make_node("Mul", ["b", "huge"], ["y"], "up"),
    ]
    constants = {"w": normal(1, 32, 32), "huge": np.float32(1e6), "small": np.float32(1e-4)}
    reference, rows = load(nodes, constants, {"x": ["n", 32]}, {"y": ["n", 32]}), normal(3, 8, 32)
    variant = make_variant(reference, parse_recipe("fp16"), rows, DATA)
    assert variant.record.left_in_float == ("Mul up: 'huge' reaches 1e+06, and float16 ends at 65504",)
    assert error(variant, reference, rows) < 0.01


@pytest.mark.parametrize(("name", "bits", "blocks"), [("int8-weights", 8, 32), ("int4-weights+block=16", 4, 16)])
def test_weights_alone_are_in_blocks(maker: VariantMaker, name: str, bits: int, blocks: int) -> None:
    graph = maker.make(parse_recipe(name)).model.proto.graph
    (node,) = (node for node in graph.node if node.op_type == "MatMulNBits")
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (values["bits"], values["block_size"], values["K"], values["N"]) == (bits, blocks, 32, 10)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", ["int8-weights", "int8-dynamic"])
def test_gemm_takes_part_where_it_is_the_same_sum(name: str, transposed: int, biased: bool) -> None:
    inputs = ["x", "w", "b"] if biased else ["x", "w"]
    nodes = [helper.make_node("Gemm", inputs, ["y"], "gemm", transB=transposed)]
    shape = (96, 64) if transposed else (64, 96)
    constants = {"w": normal(1, *shape)} | ({"b": normal(2, 96)} if biased else {})
    reference = load(nodes, constants, {"x": ["n", 64]}, {"y": ["n", 96]})
    rows = normal(3, 16, 64)
    variant = make_variant(reference, parse_recipe(name), None, None)
    assert variant.record.left_in_float == ()
    assert 0 < error(variant, reference, rows) < 0.03
    assert variant.record.model.size_bytes < 0.5 * reference.record.size_bytes


@pytest.mark.parametrize(("factor", "left"), [({"alpha": 0.5}, True), ({"beta": 2.0}, False)], ids=["alpha", "beta"])
def test_a_gemm_with_a_factor_of_its_product_is_left_as_it_is(factor: dict[str, float], left: bool) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], "odd", **factor),
        helper.make_node("Tanh", ["a"], ["t"], "tanh"),
        helper.make_node("MatMul", ["t", "v"], ["y"], "plain"),
    ]
    constants = {"w": normal(1, 64, 64), "b": normal(2, 64), "v": normal(3, 64, 64)}
    reference = load(nodes, constants, {"x": ["n", 64]}, {"y": ["n", 64]})
    variant = make_variant(reference, parse_recipe("int8-weights"), None, None)
    assert any(line.startswith("Gemm odd: ") for line in variant.record.left_in_float) == left
    assert error(variant, reference, normal(4, 16, 64)) < 0.03


def branches() -> LoadedModel:
    """All products are inside an If, as in some voice models."""

    def branch(name: str, weights: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", weights], [name], f"in_{name}")
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["flag"], "test"),
        helper.make_node("If", ["flag"], ["y"], "choose", then_branch=branch("t", "w"), else_branch=branch("e", "v")),
    ]
    constants = {"w": normal(1, 64, 64), "v": normal(2, 64, 64), "zero": np.float32(0)}
    return load(nodes, constants, {"x": ["n", 64]}, {"y": ["n", 64]})


@pytest.mark.parametrize("name", ["int8-per-channel", "int8-dynamic"])
def test_products_inside_a_branch_are_no_silent_success(name: str) -> None:
    with pytest.raises(ConversionError, match=r"nothing can be quantized: MatMul in_[te]: it is inside If choose"):
        make_variant(branches(), parse_recipe(name), normal(3, 8, 64), DATA)


@pytest.mark.parametrize(("name", "share", "limit"), [("fp16", 0.6, 0.01), ("int8-weights", 0.4, 0.03)])
def test_fp16_and_weights_alone_enter_branches(name: str, share: float, limit: float) -> None:
    reference, rows = branches(), normal(3, 8, 64)
    variant = make_variant(reference, parse_recipe(name), rows, DATA)
    assert variant.record.model.size_bytes < share * reference.record.size_bytes
    assert 0 < error(variant, reference, rows) < limit
    assert variant.record.left_in_float == ()


def lstm() -> LoadedModel:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y", "", ""], "lstm", hidden_size=32)
    constants = {"w": normal(1, 1, 128, 16, scale=0.2), "r": normal(2, 1, 128, 32, scale=0.2)}
    return load([node], constants, {"x": ["t", 1, 16]}, {"y": ["t", 1, 1, 32]})


def test_an_lstm_has_a_dynamic_form_and_no_other() -> None:
    rows = normal(3, 8, 1, 16)
    variant = make_variant(lstm(), parse_recipe("int8-dynamic"), None, None)
    assert variant.record.model.size_bytes < 0.4 * lstm().record.size_bytes
    assert variant.record.saturation.can_saturate, "its sums are int8, and their bound is not known"
    for name, reason in (("int8-per-tensor", "no int8 form"), ("int4-weights", "matrix products alone")):
        with pytest.raises(ConversionError, match=f"nothing can be quantized: LSTM lstm: .*{reason}"):
            make_variant(lstm(), parse_recipe(name), rows, DATA)


def test_products_of_activations_are_named_where_only_constants_count() -> None:
    nodes = [
        helper.make_node("MatMul", ["left", "w"], ["a"], "constant"),
        helper.make_node("MatMul", ["a", "right"], ["y"], "attention"),
    ]
    model = load(nodes, {"w": normal(1, 32, 64)}, {"left": [1, 8, 32], "right": [1, 64, 8]}, {"y": [1, 8, 8]})
    variant = make_variant(model, parse_recipe("int8-dynamic"), None, None)
    assert variant.record.left_in_float == ("MatMul attention: its weights are made at run time",)


def test_a_model_without_products_is_refused_by_what_it_has() -> None:
    model = load([helper.make_node("Relu", ["x"], ["y"], "only")], {}, {"x": ["n", 4]}, {"y": ["n", 4]})
    for name in ("int8-per-tensor", "int8-dynamic", "int8-weights", "fp16"):
        with pytest.raises(ConversionError, match="this model has only Relu") as caught:
            make_variant(model, parse_recipe(name), normal(1, 4, 4), DATA)
        assert "fp32" in caught.value.next_step


@pytest.mark.parametrize("name", ["int8-per-tensor", "int8-u8u8", "int8-s8s8+minmax"])
def test_static_int8_needs_rows(name: str) -> None:
    with pytest.raises(UsageError, match="needs calibration rows"):
        make_variant(mlp(), parse_recipe(name), None, None)


def test_constants_on_the_left_take_one_scale() -> None:
    """The runtime's kernel fails at run time on one scale a channel there."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "right"),
        helper.make_node("MatMul", ["filters", "a"], ["b"], "left"),
        helper.make_node("Relu", ["b"], ["y"], "relu"),
    ]
    constants = {"w": normal(1, 16, 16), "filters": normal(2, 8, 12)}
    reference = load(nodes, constants, {"x": ["n", 12, 16]}, {"y": ["n", 8, 16]})
    rows = normal(3, 16, 12, 16)
    variant = make_variant(reference, parse_recipe("int8-per-channel"), rows, DATA)
    assert variant.record.saturation.quantized_nodes == 2
    assert error(variant, reference, rows) < 0.05


def test_host_and_device_differ_only_where_sums_can_saturate(made) -> None:
    risky, safe = made["int8-per-channel"].record, made["int8-per-channel-reduced"].record
    said = host_and_device_differ(risky, host_saturates=True, device_saturates=False)
    assert "saturate on this host" in said
    assert "not on the device" in said
    assert f"{risky.saturation.worst_pair:,}" in said
    other = host_and_device_differ(risky, host_saturates=False, device_saturates=True)
    assert "saturate on the device" in other
    for host, device in ((True, True), (False, False)):
        assert host_and_device_differ(risky, host_saturates=host, device_saturates=device) == ""
    assert host_and_device_differ(safe, host_saturates=True, device_saturates=False) == ""


def test_two_inputs_calibrate_and_quantize() -> None:
    reference = two_inputs()
    rows = {"left": normal(4, 64, 32), "right": normal(5, 64, 16)}
    for name in ("int8-per-channel", "int8-dynamic", "fp16"):
        variant = make_variant(reference, parse_recipe(name), rows, DATA)
        assert 0 < error(variant, reference, rows) < 0.05
        assert [each.name for each in variant.record.model.inputs] == ["left", "right"]


def test_weights_are_within_the_reduced_range(made) -> None:
    for tensor in tensors(made["int8-per-channel-reduced"]).values():
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1:
            assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 64


@pytest.mark.parametrize("name", ["int8-weights", "int4-weights"])
def test_weights_in_blocks_name_the_library_that_they_need(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(MissingExtraError, match="needs onnx-ir") as caught:
        VariantMaker(mlp()).make(parse_recipe(name))
    assert caught.value.next_step == "pip install 'edgeproof[weights]'"
