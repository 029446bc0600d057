"""Small networks written node by node, for the tests of quantization."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.model.load import LoadedModel, load_onnx_bytes

Floats = NDArray[np.float32]


def normal(seed: int, *shape: int, scale: float = 1.0) -> Floats:
    """Standard normal float32 values times `scale`."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def load(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    *,
    opset: int = 17,
    name: str = "net.onnx",
) -> LoadedModel:
    """A checked model with float32 inputs and outputs of those shapes."""
    held = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    takes, gives = (
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, list(shape)) for key, shape in values.items()]
        for values in (inputs, outputs)
    )
    graph = helper.make_graph(list(nodes), "net", takes, gives, held)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return load_onnx_bytes(model.SerializeToString(), name)


def mlp(*, scale: float = 1.0) -> LoadedModel:
    """x [rows, 64] through /body/first, /body/relu and /head/last to y [rows, 8]; then Softmax."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], "/body/first"),
        helper.make_node("Relu", ["a"], ["h"], "/body/relu"),
        helper.make_node("Gemm", ["h", "w2"], ["c"], "/head/last", transB=1),
        helper.make_node("Softmax", ["c"], ["y"], "/head/softmax"),
    ]
    constants = {
        "w1": normal(1, 64, 64, scale=0.1 * scale),
        "b1": normal(2, 64, scale=0.1),
        "w2": normal(3, 8, 64, scale=0.1),
    }
    return load(nodes, constants, {"x": ["rows", 64]}, {"y": ["rows", 8]})


def cnn() -> LoadedModel:
    """x [rows, 3, 16, 16]: two convolutions with a batch norm after the first, a mean over space, a matrix product."""
    nodes = [
        helper.make_node("Conv", ["x", "k1"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "gain", "shift", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "k2", "kb"], ["d"], "conv2", strides=[2, 2]),
        helper.make_node("ReduceMean", ["d"], ["m"], "pool", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"], "last"),
    ]
    constants = {
        "k1": normal(1, 32, 3, 3, 3, scale=0.3),
        "gain": np.abs(normal(2, 32)) + 0.5,
        "shift": normal(3, 32, scale=0.1),
        "mean": normal(4, 32, scale=0.1),
        "var": np.abs(normal(5, 32)) + 0.5,
        "k2": normal(6, 32, 32, 3, 3, scale=0.1),
        "kb": normal(7, 32, scale=0.1),
        "w": normal(8, 32, 10, scale=0.3),
    }
    return load(nodes, constants, {"x": ["rows", 3, 16, 16]}, {"y": ["rows", 10]})


def two_inputs() -> LoadedModel:
    """left [rows, 32] and right [rows, 16] through a product each; their sum and its first half are the outputs."""
    nodes = [
        helper.make_node("MatMul", ["left", "wl"], ["a"], "on_left"),
        helper.make_node("MatMul", ["right", "wr"], ["b"], "on_right"),
        helper.make_node("Add", ["a", "b"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["all"], "relu"),
        helper.make_node("MatMul", ["all", "wo"], ["half"], "out"),
    ]
    constants = {"wl": normal(1, 32, 32), "wr": normal(2, 16, 32), "wo": normal(3, 32, 16)}
    inputs = {"left": ["rows", 32], "right": ["rows", 16]}
    return load(nodes, constants, inputs, {"all": ["rows", 32], "half": ["rows", 16]})
