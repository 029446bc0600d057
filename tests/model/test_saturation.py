"""Pair saturation: hand-computed sums, a bound that bounds, and agreement with onnxruntime's exact kernels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic

from kit.errors import ModelError, UsageError
from kit.model.integer import PairProduct, requantize
from kit.model.saturation import (
    NotModelledError,
    predict_on_saturating_x86,
    saturation_bound,
    saturation_record,
    worst_pairs,
)
from kit.records import SaturationRecord
from tests import saturation_nets as nets


def column(*weights: int) -> np.ndarray:
    return np.array(weights, np.int8).reshape(-1, 1)


def activations(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


def weights_in_blocks(bits: int, level: int | None) -> onnx.ModelProto:
    """One MatMul of 64 inputs and 8 outputs as onnxruntime's own quantizer makes it."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = nets.Net(["n", 64]).matmul(64, 8).model()
    maker = MatMulNBitsQuantizer(model, bits=bits, block_size=32, is_symmetric=False, accuracy_level=level)
    maker.process()
    made: onnx.ModelProto = maker.model.model
    return made


class TestPairProduct:
    @pytest.mark.parametrize(
        ("x", "w", "exact", "saturated"),
        [
            ((255, 255), (127, 127), 64770, 32767),
            ((255, 255), (-128, -128), -65280, -32768),
            ((255, 255), (64, 64), 32640, 32640),
            ((255, 255), (64, 65), 32895, 32767),
            ((255, 2), (128 - 1, 127), 32639, 32639),
            ((255, 255, 255, 255), (127, -128, 127, -128), -510, -510),
            ((255, 255, 255, 255), (127, 127, -128, -128), -510, -1),
            ((255, 255, 255), (127, 127, 127), 97155, 32767 + 32385),
            ((255,), (-128,), -32640, -32640),
        ],
    )
    def test_hand_computed(self, x: tuple[int, ...], w: tuple[int, ...], exact: int, saturated: int) -> None:
        assert PairProduct(column(*w), saturate=False)(activations(*x))[0].item() == exact
        assert PairProduct(column(*w), saturate=True)(activations(*x))[0].item() == saturated

    def test_order_along_k_decides(self) -> None:
        same, apart = column(127, 127, 0, 0), column(127, 0, 127, 0)
        x = activations(255, 255, 255, 255)
        assert PairProduct(same, saturate=True)(x)[0].item() == 32767
        assert PairProduct(apart, saturate=True)(x)[0].item() == 64770

    def test_unsigned_weights_use_exact_kernels(self) -> None:
        weights = np.full((4, 1), 255, np.uint8)
        sums, saturated = PairProduct(weights, saturate=True)(activations(255, 255, 255, 255))
        assert (sums.item(), saturated) == (4 * 255 * 255, 0)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_equals_pair_by_pair(self, data: st.DataObject) -> None:
        m, k, n = (data.draw(st.integers(1, 9)) for _ in range(3))
        weights = data.draw(hnp.arrays(np.int8, (k, n), elements=st.integers(-128, 127)))
        x = data.draw(hnp.arrays(np.uint8, (m, k), elements=st.integers(0, 255)))
        expected, count = np.zeros((m, n), int), 0
        for row, col in np.ndindex(m, n):
            products = x[row].astype(int) * weights[:, col].astype(int)
            for start in range(0, k, 2):
                pair = int(products[start : start + 2].sum())
                clipped = min(max(pair, -32768), 32767)
                expected[row, col] += clipped
                count += pair != clipped
        sums, saturated = PairProduct(weights, saturate=True)(x)
        np.testing.assert_array_equal(sums, expected)
        assert saturated == count

    def test_blocks_of_rows_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(3)
        weights = rng.integers(-128, 128, (33, 9), dtype=np.int8)
        x = rng.integers(0, 256, (50, 33), dtype=np.uint8)
        whole = PairProduct(weights, saturate=True)(x)
        monkeypatch.setattr("kit.model.integer._BLOCK_ELEMENTS", 100)
        blocks = PairProduct(weights, saturate=True)(x)
        np.testing.assert_array_equal(whole[0], blocks[0])
        assert whole[1] == blocks[1] > 0


class TestRequantize:
    def test_rounds_half_to_even_and_clips(self) -> None:
        sums = np.array([1, 3, 5, -1, 1000, -1000])
        result = requantize(sums, np.float32(0.5), np.uint8(10))
        assert result.tolist() == [10, 12, 12, 10, 255, 0]
        assert result.dtype == np.uint8

    def test_signed(self) -> None:
        assert requantize(np.array([300, -300]), np.float32(1), np.int8(-5)).tolist() == [127, -128]


class TestBound:
    def test_worst_pairs_by_hand(self) -> None:
        weights = np.array([[127, 1, -128, 100], [64, 64, -64, -64], [5, -7, 0, -90]], np.int8)
        assert worst_pairs(weights).tolist() == [255 * 227, 255 * 128, 255 * -97]

    def test_a_single_weight_never_saturates(self) -> None:
        assert worst_pairs(column(127, -128)).tolist() == [255 * 127, 255 * -128]

    @given(
        hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.integers(-128, 127)),
        st.randoms(),
    )
    @settings(max_examples=80, deadline=None)
    def test_no_pair_in_any_order_is_worse(self, weights: np.ndarray, random: object) -> None:
        order = np.arange(weights.shape[1])
        random.shuffle(order)  # type: ignore[attr-defined]
        bounds = worst_pairs(weights)
        for channel, bound in zip(weights[:, order].astype(int), bounds, strict=True):
            for start in range(0, len(channel), 2):
                pair = channel[start : start + 2]
                worst = max(255 * pair[pair > 0].sum(), -255 * pair[pair < 0].sum())
                assert worst <= abs(bound)

    @given(hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(-64, 64)))
    @settings(max_examples=50, deadline=None)
    def test_seven_bits_never_saturate(self, weights: np.ndarray) -> None:
        assert np.abs(worst_pairs(weights)).max() <= 32767
        full = np.full((1, weights.shape[1]), 255, np.uint8)
        assert PairProduct(weights.T, saturate=True)(full)[1] == 0

    def test_float_models_list_nothing(self) -> None:
        assert saturation_bound(nets.mlp()) == []
        assert saturation_record(nets.mlp()) == SaturationRecord(False, 0, 32767, (), 0)

    @pytest.mark.parametrize("qdq", [True, False])
    def test_full_range_may_and_reduced_range_cannot(self, tmp_path: Path, qdq: bool) -> None:
        x = nets.rows(16, 601)
        full = saturation_bound(onnx.load_from_string(nets.quantized(nets.mlp(), x, tmp_path, qdq=qdq)))
        reduced = nets.quantized(nets.mlp(), x, tmp_path, qdq=qdq, reduce_range=True)
        safe = saturation_bound(onnx.load_from_string(reduced))
        assert [node.channels for node in full] == [64, 32, 7]
        assert [node.channels_at_risk for node in full] == [64, 32, 7]
        assert [(node.can_saturate, node.channels_at_risk) for node in safe] == [(False, 0)] * 3
        assert predict_on_saturating_x86(reduced, x).saturated_pairs == 0

    def test_unsigned_weights_are_exact(self, tmp_path: Path) -> None:
        options = {"weight_type": QuantType.QUInt8, "per_channel": False}
        model = onnx.load_from_string(nets.quantized(nets.mlp(), nets.rows(16, 601), tmp_path, **options))
        assert [(node.exact_kernel, node.can_saturate) for node in saturation_bound(model)] == [(True, False)] * 3
        assert saturation_record(model) == SaturationRecord(False, 0, 32767, (), 3)

    def test_depthwise_is_exact_and_pointwise_is_judged(self, tmp_path: Path) -> None:
        model = onnx.load_from_string(nets.quantized(nets.separable_cnn(), nets.rows(16, 6, 40), tmp_path))
        bound = saturation_bound(model)
        assert [node.channels for node in bound if node.can_saturate] == [32, 48, 40, 36, 36, 64, 7]
        assert [node.channels for node in bound if node.exact_kernel] == [32, 48, 40]
        record = saturation_record(model)
        assert (record.can_saturate, record.quantized_nodes, len(record.nodes_at_risk)) == (True, 10, 7)
        assert record.worst_pair == max((node.worst_pair for node in bound), key=abs)

    def test_what_the_bound_clears_never_saturates(self, tmp_path: Path) -> None:
        """A layer with one large weight a channel: 255 * (127 + 1) is 32640, safe at full range."""
        model = nets.mlp()
        second = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [32, 64])
        second.CopyFrom(numpy_helper.from_array(np.eye(32, 64, dtype=np.float32) * 0.99 + 0.007, second.name))
        x = nets.rows(32, 601)
        quantized = nets.quantized(model, x, tmp_path)
        bounds = saturation_bound(onnx.load_from_string(quantized))
        assert [node.can_saturate for node in bounds] == [True, False, True]
        assert bounds[1].worst_pair == 32640
        first, safe, _ = predict_on_saturating_x86(quantized, x).by_node
        assert first.saturated_pairs > 0
        assert safe.saturated_pairs == 0

    def test_weights_made_at_run_time_may_be_anything(self) -> None:
        bound = saturation_bound(float_weights_quantized_in_graph(TensorProto.INT8))
        assert [(node.can_saturate, node.known_weights) for node in bound] == [(True, False)]
        (unsigned,) = saturation_bound(float_weights_quantized_in_graph(TensorProto.UINT8))
        assert (unsigned.can_saturate, unsigned.exact_kernel) == (False, True)

    def test_transposed_weights_are_one_channel(self) -> None:
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
            helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["y"], name="m"),
        ]
        weights = np.array([[127, 0], [0, 127]], np.int8)
        (node,) = saturation_bound(graph_of(nodes, w=weights, s=np.float32(1)))
        assert (node.can_saturate, node.worst_pair) == (True, 64770)

    def test_an_unknown_operator_is_at_risk(self) -> None:
        (node,) = saturation_bound(graph_of([helper.make_node("QAttention", ["x"], ["y"], domain="com.microsoft")]))
        assert (node.can_saturate, node.known_weights) == (True, False)

    @pytest.mark.parametrize(
        ("bits", "level", "at_risk", "worst"),
        [(4, None, False, 0), (8, None, False, 0), (8, 1, False, 0), (4, 4, False, 7650), (8, 4, True, -65280)],
    )
    def test_weights_in_blocks_are_at_risk_where_activations_are_int8(
        self, bits: int, level: int | None, at_risk: bool, worst: int
    ) -> None:
        """What onnxruntime makes of the level is shown by its outputs: without int8 activations they are linear."""
        model = weights_in_blocks(bits, level)
        (node,) = saturation_bound(model)
        assert (node.can_saturate, node.worst_pair) == (at_risk, worst)
        assert saturation_record(model).quantized_nodes == 1  # it is no float model
        session = InferenceSession(model.SerializeToString())
        (bias,) = session.run(None, {"x": np.zeros((1, 64), dtype=np.float32)})
        (columns,) = session.run(None, {"x": np.eye(64, dtype=np.float32)})
        x = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
        is_float = bool(np.allclose(session.run(None, {"x": x})[0], x @ (columns - bias) + bias, atol=1e-4))
        assert is_float == (level != 4)

    def test_looks_inside_branches(self) -> None:
        inner = graph_of([helper.make_node("MatMulInteger", ["x", "w"], ["z"], name="deep")], w=column(127, 127)).graph
        outer = graph_of([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)])
        assert [node.name for node in saturation_bound(outer)] == ["deep", "deep"]

    def test_weights_outside_the_file_are_an_error(self) -> None:
        model = graph_of([helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="m")], w=column(1, 1))
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
        with pytest.raises(ModelError, match="outside the file") as caught:
            saturation_bound(model)
        assert "m" in caught.value.where
        assert caught.value.next_step

    def test_cut_weights_are_an_error(self) -> None:
        model = graph_of([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], w=column(1, 1))
        model.graph.initializer[0].dims[0] = 1000
        with pytest.raises(ModelError, match="cannot be read"):
            saturation_bound(model)


def graph_of(nodes: list[onnx.NodeProto], **tensors: np.ndarray) -> onnx.ModelProto:
    """A model of `nodes` that is looked at and never run."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], values))


def float_weights_quantized_in_graph(kind: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    zero = np.zeros((), helper.tensor_dtype_to_np_dtype(kind))
    return graph_of(nodes, w=np.ones((4, 2), np.float32), s=np.float32(1), z=zero)


def exact_onnxruntime(model: bytes, x: np.ndarray) -> np.ndarray:
    """onnxruntime's own answer without saturation: it turns weights unsigned on processors without VNNI."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    fixed = isinstance(session.get_inputs()[0].shape[0], int)
    parts = np.split(x, len(x)) if fixed else [x]
    return np.concatenate([session.run(None, {"x": part})[0] for part in parts])


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "gemm": (nets.mlp, (601,)),
    "matmul": (nets.matmul_mlp, (601,)),
    "separable": (nets.separable_cnn, (6, 40)),
    "residual": (nets.residual_2d, (3, 12, 12)),
    "volumetric": (nets.volumetric, (3, 5, 6, 7)),
    "one row": (nets.one_row_dilated, (1, 40)),
}


class TestPrediction:
    @pytest.mark.parametrize("name", CASES)
    @pytest.mark.parametrize("qdq", [True, False])
    def test_exact_mode_equals_onnxruntime_bit_for_bit(self, tmp_path: Path, name: str, qdq: bool) -> None:
        build, shape = CASES[name]
        x = nets.rows(24, *shape)
        model = nets.quantized(build(), x, tmp_path, qdq=qdq)
        prediction = predict_on_saturating_x86(model, x, saturate=False, batch_rows=7)
        np.testing.assert_array_equal(prediction.outputs, exact_onnxruntime(model, x))
        assert prediction.saturated_pairs == 0
        assert prediction.total_pairs > 0

    @pytest.mark.parametrize("name", CASES)
    def test_saturation_changes_outputs(self, tmp_path: Path, name: str) -> None:
        build, shape = CASES[name]
        x = nets.rows(24, *shape)
        model = nets.quantized(build(), x, tmp_path)
        exact, saturated = (predict_on_saturating_x86(model, x, saturate=mode) for mode in (False, True))
        assert 0 < saturated.saturated_pairs < saturated.total_pairs == exact.total_pairs
        assert np.abs(exact.outputs - saturated.outputs).max() > 0
        assert saturated.saturated_pairs == sum(node.saturated_pairs for node in saturated.by_node)

    def test_signed_activations_are_made_unsigned_first(self, tmp_path: Path) -> None:
        x = nets.rows(24, 601)
        signed = nets.quantized(nets.mlp(), x, tmp_path, activation_type=QuantType.QInt8)
        unsigned = nets.quantized(nets.mlp(), x, tmp_path)
        results = [predict_on_saturating_x86(model, x) for model in (signed, unsigned)]
        assert results[0].saturated_pairs == results[1].saturated_pairs > 0

    def test_batches_and_the_model_object_make_no_difference(self, tmp_path: Path) -> None:
        x = nets.rows(10, 601)
        model = nets.quantized(nets.mlp(), x, tmp_path)
        one = predict_on_saturating_x86(model, x, batch_rows=1)
        assert one.by_node == predict_on_saturating_x86(onnx.load_from_string(model), x).by_node
        np.testing.assert_array_equal(one.outputs, predict_on_saturating_x86(model, x, batch_rows=3).outputs)

    def test_pairs_are_counted_by_hand(self, tmp_path: Path) -> None:
        x = nets.rows(10, 601)
        by_node = predict_on_saturating_x86(nets.quantized(nets.mlp(), x, tmp_path), x).by_node
        assert [node.total_pairs for node in by_node] == [10 * 301 * 64, 10 * 32 * 32, 10 * 16 * 7]

    def test_float_models_have_no_pairs(self) -> None:
        x = nets.rows(5, 601)
        model = nets.mlp().SerializeToString()
        prediction = predict_on_saturating_x86(model, x)
        assert (prediction.total_pairs, prediction.by_node) == (0, ())
        np.testing.assert_allclose(prediction.outputs, exact_onnxruntime(model, x), rtol=1e-5, atol=1e-5)


class TestRefusals:
    def test_dynamic_quantization_is_not_modelled(self, tmp_path: Path) -> None:
        quantize_dynamic(nets.matmul_mlp(), tmp_path / "d.onnx", weight_type=QuantType.QInt8)
        with pytest.raises(NotModelledError, match="not modelled") as caught:
            predict_on_saturating_x86((tmp_path / "d.onnx").read_bytes(), nets.rows(2, 601))
        assert "node" in caught.value.where
        assert caught.value.next_step

    def test_two_inputs_are_not_modelled(self) -> None:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "b", "y")]
        graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "g", ends[:2], ends[2:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        with pytest.raises(NotModelledError, match="2 inputs"):
            predict_on_saturating_x86(model, np.zeros(2, np.float32))

    @pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x07\xff\xff\xff"])
    def test_garbage_is_a_model_error(self, data: bytes) -> None:
        with pytest.raises(ModelError):
            predict_on_saturating_x86(data, nets.rows(2, 4))

    def test_rows_of_another_shape_are_a_model_error(self, tmp_path: Path) -> None:
        model = nets.quantized(nets.mlp(), nets.rows(4, 601), tmp_path)
        with pytest.raises(ModelError):
            predict_on_saturating_x86(model, nets.rows(4, 600))

    def test_no_rows(self) -> None:
        with pytest.raises(UsageError):
            predict_on_saturating_x86(b"", nets.rows(0, 4))

    def test_memory_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        x = nets.rows(8, 6, 40)
        model = nets.quantized(nets.separable_cnn(), x, tmp_path)
        monkeypatch.setattr("kit.model.integer._MAX_WINDOW_ELEMENTS", 1000)
        with pytest.raises(NotModelledError, match="not modelled"):
            predict_on_saturating_x86(model, x)
