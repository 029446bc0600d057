"""Small networks with seeded weights for the tests of calibration, and rows for them."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Rows = NDArray[np.float32]
FLOAT = TensorProto.FLOAT


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: list[str],
    weights: dict[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """A model of opset 17 with float inputs, its types inferred."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value for value in inferred.graph.value_info}
    for output in inferred.graph.output:
        if not output.HasField("type"):
            output.CopyFrom(types[output.name])
    return inferred


def conv_net(batch: int | str = "rows", channels: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Two convolutions, ReLU, a residual sum and a sigmoid: x [batch, 3, 16, 16] to y [batch, 5]."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Rows:
        return random.normal(0, 0.4, shape).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["conv1"], pads=[1] * 4),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "w2"], ["conv2"], pads=[1] * 4),
        helper.make_node("Add", ["relu1", "conv2"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["gate"]),
        helper.make_node("GlobalAveragePool", ["gate"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3"], ["y"]),
    ]
    weights = {
        "w1": normal(channels, 3, 3, 3),
        "b1": normal(channels),
        "w2": normal(channels, channels, 3, 3),
        "w3": normal(channels, 5),
    }
    return model_of(nodes, {"x": [batch, 3, 16, 16]}, ["y"], weights)


CONV_TENSORS = ("x", "conv1", "relu1", "conv2", "sum", "gate", "pool", "flat", "y")


def conv_rows(count: int, seed: int = 1) -> Rows:
    """Rows of unequal scale, some of them large: [count, 3, 16, 16]."""
    random = np.random.default_rng(seed)
    scale = random.lognormal(0, 0.7, (count, 1, 1, 1))
    return (random.normal(0, 1, (count, 3, 16, 16)) * scale).astype(np.float32)


def two_input_net() -> onnx.ModelProto:
    """product = left * right, [rows, 4] each; cast to whole numbers and back."""
    nodes = [
        helper.make_node("Mul", ["left", "right"], ["product"]),
        helper.make_node("Cast", ["product"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Cast", ["whole"], ["y"], to=FLOAT),
    ]
    return model_of(nodes, {"left": ["rows", 4], "right": ["rows", 4]}, ["y"])
