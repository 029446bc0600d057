"""The simulation is the quantized model: same decisions for any nodes in float, any calibration, corrected or not."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from kit.model.calibrate import Method
from kit.model.load import load_onnx_bytes
from kit.model.quantize import VariantMaker
from kit.model.search.cost import CostModel
from kit.model.search.rounding import RoundingRules, rounded_tensors
from kit.model.search.simulate import Setting, Simulation
from kit.model.session import HostSession, quiet_runtime
from kit.spec.recipe import parse_recipe
from tests.model.search_nets import DATA, Layers, network
from tests.model.test_equalize import Net

METHODS = (Method("minmax"), Method("percentile", 99.9))
BASES = ("int8-per-tensor", "int8-per-channel", "int8-per-channel-reduced", "int8-s8s8", "int8-u8u8")


@pytest.fixture(scope="module")
def dense(digits) -> Layers:
    model = MLPClassifier((24, 16), max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(digits.train, digits.train_labels)
    return list(zip(model.coefs_, model.intercepts_, strict=True))


def residual_net() -> onnx.ModelProto:
    """Convolutions, a depthwise one, a residual, pooling, a reshape and a dense layer; 5 scores."""
    net = Net(3, ("batch", 3, 8))
    stem = net.add("Relu", net.conv("x", 6, 3))
    branch = net.add("Relu", net.conv(net.add("Relu", net.conv(stem, 6, 6, group=6)), 6, 6))
    pooled = net.add("MaxPool", net.add("Add", branch, stem), kernel_shape=[2], strides=[2])
    squashed = net.add("Sigmoid", net.conv(pooled, 4, 6))
    flat = net.add("Flatten", squashed)
    logits = net.add("Gemm", flat, net.weights(16, 5), net.weights(5))
    proto = net.prepared(logits).proto
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, ["batch", 5]))
    return proto


def attention_net() -> onnx.ModelProto:
    """Products of activations, a softmax in the middle, and matrix products with constants."""
    net = Net(4, ("batch", 6, 8))
    query, key, value = (net.add("MatMul", "x", net.weights(8, 8)) for _ in range(3))
    weights = net.add("Softmax", net.add("MatMul", query, net.add("Transpose", key, perm=[0, 2, 1])), axis=-1)
    mixed = net.add("Add", net.add("MatMul", weights, value), "x")
    mean = net.add("ReduceMean", net.add("Tanh", mixed), axes=[1], keepdims=0)
    logits = net.add("Gemm", mean, net.weights(8, 5), net.weights(5))
    proto = net.prepared(logits).proto
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, ["batch", 5]))
    return proto


NETS = {"residual": residual_net, "attention": attention_net}


def agree(maker: VariantMaker, base: str, rows: np.ndarray, output: str, sets: int = 4) -> None:
    """Several sets of nodes in float, under each calibration: the real file and the simulation decide alike."""
    recipe = parse_recipe(base)
    full = onnx.ModelProto.FromString(maker.make(recipe).data)
    simulation = Simulation(maker.prepared(recipe.equalize), full, frozenset(), maker.feeds, output)
    units, random = simulation.rules.units, np.random.default_rng(1)
    kept_sets = [frozenset()] + [
        frozenset(random.choice(units, random.integers(1, len(units)), replace=False).tolist()) for _ in range(sets)
    ]
    for number, kept in enumerate(kept_sets):
        method, corrected = METHODS[number % 2], number % 3 == 0
        setting = Setting(kept, maker.ranges(method, recipe.equalize), corrected)
        simulated = simulation.scores({"x": rows}, setting)
        made = replace(
            recipe, calibration=method.name, percentile=method.percentile, correct_bias=corrected,
            keep_float=tuple(sorted(kept)),
        )  # fmt: skip
        if kept >= set(units):
            continue
        real = HostSession(maker.make(made).data, exact=True).predict(rows, output)
        step = max(float(np.ptp(real)) / 255, 1e-6)
        assert (simulated.argmax(axis=1) == real.argmax(axis=1)).mean() >= 0.99, (base, sorted(kept))
        assert np.mean(np.abs(simulated - real)) < 0.25 * step, (base, sorted(kept))  # a tie here and there


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("net", NETS)
def test_it_decides_as_the_quantized_model(net: str, base: str) -> None:
    proto = NETS[net]()
    model = load_onnx_bytes(proto.SerializeToString(), f"{net}.onnx")
    rows = np.random.default_rng(7).normal(size=(300, *[int(size) for size in model.record.inputs[0].shape[1:]]))
    maker = VariantMaker(model, rows[:64].astype(np.float32), DATA)
    agree(maker, base, rows.astype(np.float32), model.record.outputs[0].name)


@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
@pytest.mark.parametrize("base", ["int8-per-tensor", "int8-per-channel+equalize"])
def test_so_it_does_on_real_data(base: str, op_type: str, dense: Layers, digits) -> None:
    maker = VariantMaker(network(dense, 1.0, op_type=op_type), digits.train[:100], DATA)
    agree(maker, base, digits.test[:400], "logits")


def test_with_everything_in_float_it_is_the_float_model(dense: Layers, digits) -> None:
    model = network(dense)
    maker = VariantMaker(model, digits.train[:100], DATA)
    full = onnx.ModelProto.FromString(maker.make(parse_recipe("int8-per-tensor")).data)
    simulation = Simulation(maker.prepared(), full, frozenset(), None, "logits")
    setting = Setting(frozenset(simulation.rules.units), maker.ranges(METHODS[0]))
    np.testing.assert_allclose(
        simulation.scores({"x": digits.test}, setting),
        HostSession(model.data).predict(digits.test),
        rtol=1e-5,
        atol=1e-4,
    )
    assert simulation.rows_run == len(digits.test)


def test_a_node_kept_in_float_is_in_float_at_run_time(dense: Layers, digits) -> None:
    """onnxruntime quantizes float weights between quantized tensors by itself, unless something stands between."""
    maker = VariantMaker(network(dense, 2.0), digits.train[:100], DATA)
    data = maker.make(replace(parse_recipe("int8-per-tensor"), keep_float=("dense1",))).data
    runtime = quiet_runtime()
    scores = []
    for level in (runtime.GraphOptimizationLevel.ORT_DISABLE_ALL, runtime.GraphOptimizationLevel.ORT_ENABLE_ALL):
        options = runtime.SessionOptions()
        options.graph_optimization_level = level
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        scores.append(session.run(["logits"], {"x": digits.test})[0])
    step = float(np.ptp(scores[0])) / 255
    assert np.mean(np.abs(scores[0] - scores[1])) < 0.05 * step


def test_predicted_sizes_are_close(dense: Layers, digits) -> None:
    maker = VariantMaker(network(dense, 1.0), digits.train[:100], DATA)
    recipe = parse_recipe("int8-per-channel")
    full = maker.make(recipe)
    proto = onnx.ModelProto.FromString(full.data)
    costs = CostModel(maker.prepared(), proto, full.record.model.size_bytes)
    tensors = frozenset(rounded_tensors(proto.graph, maker.prepared()))
    rules = RoundingRules(maker.prepared(), tensors)
    for kept in (frozenset(), frozenset({"dense0"}), frozenset({"dense1", "dense2"})):
        real = maker.make(replace(recipe, keep_float=tuple(sorted(kept)))).record.model.size_bytes
        assert costs.size_bytes(rules.rounded(kept), kept) == pytest.approx(real, abs=200)
    assert costs.work(frozenset()) == sum(weights.size for weights, _ in dense)
    assert costs.work(frozenset({"dense1"})) > costs.work(frozenset())
