"""Small random nets in ONNX, quantized by onnxruntime, whose int8 pair sums saturate often: uniform weights."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Float32Array = NDArray[np.float32]


class Net:
    """A chain of layers from input ``x`` to output ``y``; a layer is He-scaled and uniform."""

    def __init__(self, shape: Sequence[int | str], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.tip, self.count = list(shape), "x", 0
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def _uniform(self, *shape: int) -> str:
        values = self.rng.uniform(-1, 1, shape) * np.sqrt(4 / max(1, np.prod(shape[1:])))
        self.tensors.append(numpy_helper.from_array(values.astype(np.float32), f"w{len(self.tensors)}"))
        return self.tensors[-1].name

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        self.tip = f"t{self.count}"
        name = f"{op_type.lower()}{self.count}"
        self.nodes.append(helper.make_node(op_type, inputs, [self.tip], name=name, **attributes))
        return self.tip

    def gemm(self, inputs: int, outputs: int, **attributes: Any) -> "Net":
        self.add("Gemm", self.tip, self._uniform(outputs, inputs), self._uniform(outputs), transB=1, **attributes)
        return self

    def matmul(self, inputs: int, outputs: int) -> "Net":
        weights = self._uniform(outputs, inputs)
        values = numpy_helper.to_array(self.tensors[-1]).T.copy()
        self.tensors[-1].CopyFrom(numpy_helper.from_array(values, weights))
        self.add("MatMul", self.tip, weights)
        self.add("Add", self.tip, self._uniform(outputs))
        return self

    def conv(
        self, inputs: int, outputs: int, *kernel: int, group: int = 1, relu: bool = True, **attributes: Any
    ) -> "Net":
        attributes = {"pads": [size // 2 for size in kernel] * 2, "kernel_shape": kernel} | attributes
        weights = self._uniform(outputs, inputs // group, *kernel)
        self.add("Conv", self.tip, weights, self._uniform(outputs), group=group, **attributes)
        return self.relu() if relu else self

    def relu(self) -> "Net":
        self.add("Relu", self.tip)
        return self

    def residual(self, start: str) -> "Net":
        self.add("Add", self.tip, start)
        return self.relu()

    def head(self, inputs: int, classes: int = 7) -> "Net":
        self.add("Flatten", self.tip)
        return self.gemm(inputs, classes)

    def model(self) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [x], [y], self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def rows(count: int, *shape: int, seed: int = 1) -> Float32Array:
    """Inputs in 0 to 1, most of them large: large activations saturate."""
    return (np.random.default_rng(seed).uniform(0, 1, (count, *shape)) ** 0.5).astype(np.float32)


def quantized(model: onnx.ModelProto, x: Float32Array, folder: Path, *, qdq: bool = True, **options: Any) -> bytes:
    """Static int8 quantization with MinMax ranges: unsigned activations and signed weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Float32Array] = iter(np.split(x, len(x)))

        def get_next(self) -> dict[str, Float32Array] | None:
            row = next(self.left, None)
            return None if row is None else {"x": row}

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    form = QuantFormat.QDQ if qdq else QuantFormat.QOperator
    path = folder / "int8.onnx"
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            onnx.ModelProto.FromString(model.SerializeToString()),
            path,
            Reader(),
            quant_format=form,
            **(kinds | options),
        )
    finally:
        logging.disable(logging.NOTSET)
    return path.read_bytes()


def mlp() -> onnx.ModelProto:
    """601-64-32-7: an odd number of inputs, so the last pair is half empty."""
    return Net(["n", 601]).gemm(601, 64).relu().gemm(64, 32).relu().gemm(32, 7).model()


def matmul_mlp() -> onnx.ModelProto:
    return Net(["n", 601]).matmul(601, 64).relu().matmul(64, 7).model()


def separable_cnn() -> onnx.ModelProto:
    """1-D: im2col, depthwise of both kinds (channels that are and are not a multiple of 16), pointwise, grouped."""
    net = Net(["n", 6, 40]).conv(6, 32, 5, strides=[2])
    net.conv(32, 32, 3, group=32).conv(32, 48, 1).conv(48, 48, 3, group=48).conv(48, 40, 1)
    net.conv(40, 40, 3, group=40).conv(40, 36, 1).conv(36, 36, 3, group=4).conv(36, 64, 3)
    return net.head(64 * 20).model()


def residual_2d() -> onnx.ModelProto:
    net = Net(["n", 3, 12, 12]).conv(3, 16, 3, 3)
    start = net.tip
    net.conv(16, 16, 3, 3, relu=False).residual(start).conv(16, 24, 3, 3, strides=[2, 2])
    return net.conv(24, 24, 3, 3, group=24).head(24 * 36).model()


def volumetric() -> onnx.ModelProto:
    net = Net(["n", 3, 5, 6, 7]).conv(3, 8, 3, 3, 3).conv(8, 8, 3, 3, 3, group=2)
    return net.head(8 * 210).model()


def one_row_dilated() -> onnx.ModelProto:
    """A batch fixed at 1, one input channel, uneven padding, a stride and a dilation."""
    net = Net([1, 1, 40]).conv(1, 1, 5).conv(1, 4, 5).conv(4, 8, 3, group=4)
    return net.conv(8, 5, 3, dilations=[3], strides=[2], pads=[2, 5], relu=False).head(5 * 21).model()
