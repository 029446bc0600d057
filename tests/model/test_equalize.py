"""Cross-layer equalization: the same function bit for bit, channels that fit int8, and nothing moved that cannot be."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.model.quantize.base import Prepared
from kit.model.quantize.equalize import LARGEST_EXPONENT, Equalized, equalize
from kit.model.session import quiet_runtime

Array = NDArray[np.float32]
CHANNELS = 6
LENGTH = 8


class Net:
    """A small graph that is written node by node, with random weights under a seed."""

    def __init__(self, seed: int = 0, shape: tuple[int | str, ...] = ("batch", 3, LENGTH)) -> None:
        self.random = np.random.default_rng(seed)
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Array | NDArray[np.int64], name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, *shape: int, factors: Array | None = None) -> str:
        values = self.random.normal(size=shape).astype(np.float32)
        if factors is not None:
            values *= factors.reshape(-1, *[1] * (len(shape) - 1))
        return self.constant(values)

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"{op_type}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def conv(self, source: str, outputs: int, inputs: int, *, group: int = 1, factors: Array | None = None) -> str:
        weights = self.weights(outputs, inputs // group, 3, factors=factors)
        bias = self.weights(outputs, factors=factors)
        return self.add("Conv", source, weights, bias, group=group, pads=[1, 1])

    def prepared(self, *outputs: str) -> Prepared:
        named = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        source = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))
        graph = helper.make_graph(self.nodes, "net", [source], named, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return Prepared(onnx.shape_inference.infer_shapes(model), "net", (), frozenset())

    def rows(self, count: int = 16) -> Array:
        sizes = [size for size in self.shape[1:] if isinstance(size, int)]
        return np.random.default_rng(9).normal(size=(count, *sizes)).astype(np.float32)


def run(proto: onnx.ModelProto, rows: Array) -> list[Array]:
    session = quiet_runtime().InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": rows}))


def same_bits(net: Net, *outputs: str) -> Equalized:
    """Equalize; the outputs must not change in a single bit."""
    prepared = net.prepared(*outputs)
    done = equalize(prepared)
    rows = net.rows(net.shape[0] if isinstance(net.shape[0], int) else 16)
    for before, after in zip(run(prepared.proto, rows), run(done.prepared.proto, rows), strict=True):
        np.testing.assert_array_equal(before, after)
    return done


def uneven(count: int, seed: int = 5) -> Array:
    """Factors over some five orders of two."""
    return np.exp2(np.random.default_rng(seed).uniform(-5, 5, count)).astype(np.float32)


def after_conv(net: Net, between: Callable[[Net, str], str], inputs: int = CHANNELS) -> str:
    """Conv with uneven channels, something, and a second Conv."""
    return net.conv(between(net, net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS))), 4, inputs)


def residual(net: Net, source: str) -> str:
    branch = net.add("Relu", net.conv(net.add("Relu", source), CHANNELS, CHANNELS))
    return net.add("Add", branch, net.nodes[-3].output[0])


PASSES: dict[str, Callable[[Net, str], str]] = {
    "nothing": lambda net, source: source,
    "Relu": lambda net, source: net.add("Relu", source),
    "LeakyRelu": lambda net, source: net.add("LeakyRelu", source, alpha=0.1),
    "Clip from 0": lambda net, source: net.add("Clip", source, net.constant(np.float32(0))),
    "MaxPool": lambda net, source: net.add("MaxPool", net.add("Relu", source), kernel_shape=[2]),
    "AveragePool": lambda net, source: net.add("AveragePool", source, kernel_shape=[2]),
    "a depthwise layer": lambda net, source: net.conv(net.add("Relu", source), CHANNELS, CHANNELS, group=CHANNELS),
    "a layer in groups": lambda net, source: net.conv(net.add("Relu", source), CHANNELS, CHANNELS, group=2),
    "a residual": residual,
    "a constant added": lambda net, source: net.add("Add", source, net.weights(CHANNELS, 1)),
    "transposes": lambda net, source: net.add(
        "Transpose", net.add("Transpose", source, perm=[0, 2, 1]), perm=[0, 2, 1]
    ),
}


@pytest.mark.parametrize("between", PASSES.values(), ids=list(PASSES))
def test_scales_move_and_no_bit_of_the_result_does(between: Callable[[Net, str], str]) -> None:
    net = Net()
    done = same_bits(net, after_conv(net, between))
    assert done.channels >= 2
    assert len(done.fixed) == 1  # the last layer, which makes the output
    assert done.fixed[0].endswith("it makes an output of the model")


@pytest.mark.parametrize("pooled", [True, False], ids=["after pooling", "each place a feature"])
def test_it_sees_through_flattening(pooled: bool) -> None:
    net = Net()
    features = net.add("Relu", net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS)))
    if pooled:
        features = net.add("GlobalAveragePool", features)
    flat = net.add("Flatten", features)
    size = CHANNELS * (1 if pooled else LENGTH)
    done = same_bits(net, net.add("Gemm", flat, net.weights(5, size), net.weights(5), transB=1))
    assert done.channels >= CHANNELS // 2


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_it_moves_between_dense_layers(op_type: str) -> None:
    net = Net(shape=("batch", 12))
    first = net.constant(np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32) * uneven(8))
    if op_type == "Gemm":
        hidden = net.add("Gemm", "x", first, net.weights(8))
    else:
        hidden = net.add("Add", net.add("MatMul", "x", first), net.weights(8))
    assert same_bits(net, net.add("MatMul", net.add("Relu", hidden), net.weights(8, 3))).channels >= 4


def test_it_moves_through_a_transposed_convolution() -> None:
    net = Net()
    hidden = net.add("Relu", net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS)))
    wide = net.add("ConvTranspose", hidden, net.weights(CHANNELS, 2, 3), net.weights(4), group=2)
    assert same_bits(net, net.conv(net.add("Relu", wide), 3, 4)).groups == 2


STOPS: dict[str, Callable[[Net, str], str]] = {
    "Sigmoid": lambda net, source: net.add("Sigmoid", source),
    "Tanh": lambda net, source: net.add("Tanh", source),
    "Clip to 6": lambda net, source: net.add("Clip", source, net.constant(np.float32(0)), net.constant(np.float32(6))),
    "Softmax": lambda net, source: net.add("Softmax", source, axis=1),
    "Mul by itself": lambda net, source: net.add("Mul", source, source),
}


@pytest.mark.parametrize("between", STOPS.values(), ids=list(STOPS))
def test_what_is_not_homogeneous_stops_it_and_is_named(between: Callable[[Net, str], str]) -> None:
    net = Net()
    output = after_conv(net, between)
    done = same_bits(net, output)
    assert done.channels == 0
    assert done.prepared.proto.SerializeToString() == net.prepared(output).proto.SerializeToString()
    stopped_by = between(Net(), "x").rstrip("_out0123456789")
    assert any(line.startswith(f"Conv Conv0: {stopped_by}") for line in done.fixed)


def test_an_output_of_the_model_keeps_its_scale() -> None:
    net = Net()
    hidden = net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS))
    assert same_bits(net, net.conv(hidden, 4, CHANNELS), hidden).channels == 0


def test_weights_that_two_layers_share_stay() -> None:
    net = Net(shape=("batch", CHANNELS, LENGTH))
    shared = net.weights(CHANNELS, CHANNELS, 3, factors=uneven(CHANNELS))
    hidden = net.add("Relu", net.add("Conv", "x", shared, pads=[1, 1]))
    done = same_bits(net, net.conv(net.add("Conv", hidden, shared, pads=[1, 1]), 4, CHANNELS))
    assert done.channels == 0


def test_a_tensor_that_an_inner_graph_reads_stays() -> None:
    net = Net()
    hidden = net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS))
    condition = net.constant(np.array(True))
    inner = [
        helper.make_graph(
            [helper.make_node("Identity", [hidden], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    ]
    chosen = net.add("If", condition, then_branch=inner[0], else_branch=inner[1])
    done = same_bits(net, net.conv(hidden, 4, CHANNELS), chosen)
    assert done.channels == 0


def test_dead_channels_stay_and_harm_nothing() -> None:
    net = Net()
    factors = uneven(CHANNELS)
    factors[2] = 0.0
    done = same_bits(net, net.conv(net.add("Relu", net.conv("x", CHANNELS, 3, factors=factors)), 4, CHANNELS))
    assert all(np.isfinite(numpy_helper.to_array(each)).all() for each in done.prepared.proto.graph.initializer)


def test_ranges_become_alike() -> None:
    net = Net()
    output = net.conv(net.add("Relu", net.conv("x", CHANNELS, 3, factors=uneven(CHANNELS))), 4, CHANNELS)
    done = equalize(net.prepared(output))
    ratios = []
    for proto in (net.prepared(output).proto, done.prepared.proto):
        first, _, second, _ = (numpy_helper.to_array(each) for each in proto.graph.initializer)
        made, used = np.abs(first).max(axis=(1, 2)), np.abs(second).max(axis=(0, 2))
        ratios.append(np.ptp(np.log2(made / used)))
    assert ratios[0] > 6
    assert ratios[1] <= 2.01  # a power of two to each side is what rounding leaves


@settings(max_examples=25, deadline=None)
@given(exponents=st.lists(st.floats(-12, 12), min_size=CHANNELS, max_size=CHANNELS), seed=st.integers(0, 100))
def test_any_rescaling_is_undone_without_a_bit_lost(exponents: list[float], seed: int) -> None:
    net = Net(seed)
    factors = np.exp2(np.array(exponents)).astype(np.float32)
    done = same_bits(net, net.conv(net.add("Relu", net.conv("x", CHANNELS, 3, factors=factors)), 4, CHANNELS))
    twice = equalize(done.prepared)
    assert twice.channels <= 2  # it has settled, but for ties in rounding
    assert max(exponents) - min(exponents) < 2 * LARGEST_EXPONENT


def test_a_bias_by_row_is_none_by_channel() -> None:
    """Of N values in N rows, one belongs to a row, not to a channel."""
    net = Net(shape=(CHANNELS, 5))
    by_row = net.weights(CHANNELS, 1)
    first = net.add("Gemm", "x", net.weights(CHANNELS, 5, factors=uneven(CHANNELS)), by_row, transB=1)
    done = same_bits(net, net.add("Gemm", net.add("Relu", first), net.weights(CHANNELS, 3)))
    assert done.channels == 0
    assert any(line.endswith("its bias is not a constant of its own, one value a channel") for line in done.fixed)


@pytest.mark.parametrize("constant", [True, False], ids=["constant slopes", "slopes made at run time"])
def test_slopes_are_constants_or_stop_it(constant: bool) -> None:
    net = Net(shape=("batch", 5))
    hidden, other = (net.add("Gemm", "x", net.weights(CHANNELS, 5, factors=uneven(CHANNELS)), transB=1) for _ in "12")
    slopes = net.weights(CHANNELS) if constant else other
    result = net.add("Gemm", net.add("PRelu", hidden, slopes), net.weights(CHANNELS, 3))
    result = net.add("Mul", result, net.add("Gemm", other, net.weights(CHANNELS, 3)))
    done = same_bits(net, result)
    assert done.groups == (2 if constant else 0)
