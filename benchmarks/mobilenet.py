"""A network of MobileNetV2's size with seeded random weights, and photographs to run it on: nothing is downloaded."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 224
CLASSES = 1000
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and first stride (Sandler et al. 2018, "MobileNetV2", table 2)."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet, the usual normalization of its networks."""

PHOTOGRAPHS = ("astronaut", "coffee", "cat", "rocket", "immunohistochemistry", "retina")
"""In scikit-image's package."""

Image = npt.NDArray[np.float32]


class Net:
    """Layers in order, each with weights of its own; batch normalization counts as folded."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights = [
            numpy_helper.from_array(np.array(value, dtype=np.float32), name)
            for name, value in (("zero", 0), ("six", 6))
        ]

    def layer(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """One node; the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"/{name}", **attributes))
        return name

    def weight(self, shape: tuple[int, ...], deviation: float) -> str:
        """Normal weights; each output channel has a gain of its own, as folded normalization leaves it."""
        gain = self.random.lognormal(0, 0.25, (shape[0], *[1] * (len(shape) - 1)))
        values = (self.random.normal(0, deviation, shape) * gain).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def conv(self, source: str, shape: tuple[int, int, int], stride: int = 1, *, depthwise: bool = False) -> str:
        """A convolution of (channels in, channels out, kernel), without activation."""
        channels_in, channels_out, kernel = shape
        fan_in = kernel * kernel * (1 if depthwise else channels_in)
        weight = self.weight(
            (channels_out, 1 if depthwise else channels_in, kernel, kernel), float(np.sqrt(2 / fan_in))
        )
        inputs = [source, weight, self.weight((channels_out,), 0.1)]
        group, pad = channels_in if depthwise else 1, kernel // 2
        return self.layer("Conv", inputs, strides=[stride] * 2, pads=[pad] * 4, group=group, kernel_shape=[kernel] * 2)

    def relu6(self, source: str) -> str:
        """min(max(x, 0), 6)."""
        return self.layer("Clip", [source, "zero", "six"])

    def block(self, source: str, channels: tuple[int, int], expansion: int, stride: int) -> str:
        """An inverted residual: expand, filter each channel, project; added to its input where shapes allow."""
        channels_in, channels_out = channels
        wide, value = channels_in * expansion, source
        if expansion > 1:
            value = self.relu6(self.conv(value, (channels_in, wide, 1)))
        value = self.relu6(self.conv(value, (wide, wide, 3), stride, depthwise=True))
        value = self.conv(value, (wide, channels_out, 1))
        return self.layer("Add", [source, value]) if stride == 1 and channels_in == channels_out else value


def mobilenet(seed: int = 0) -> onnx.ModelProto:
    """float32 [1, 3, 224, 224] to scores [1, 1000]; about 3.5 million weights."""
    net = Net(seed)
    value, channels = net.relu6(net.conv("image", (3, 32, 3), 2)), 32
    for expansion, channels_out, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            value = net.block(value, (channels, channels_out), expansion, stride if repeat == 0 else 1)
            channels = channels_out
    value = net.relu6(net.conv(value, (channels, 1280, 1)))
    value = net.layer("Flatten", [net.layer("GlobalAveragePool", [value])])
    scores = [value, net.weight((CLASSES, 1280), 0.03), net.weight((CLASSES,), 0.1)]
    net.nodes.append(helper.make_node("Gemm", scores, ["scores"], name="/scores", transB=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(net.nodes, "mobilenet", [image], [output], net.weights)
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


def images(count: int, seed: int = 1) -> Iterator[Image]:
    """Crops of photographs, some mirrored or darker, made as they are asked for: float32 [1, 3, 224, 224]."""
    from skimage import data

    photographs = [getattr(data, name)() for name in PHOTOGRAPHS]
    random = np.random.default_rng(seed)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        top, left = (random.integers(0, size - SIDE + 1) for size in photograph.shape[:2])
        crop = photograph[top : top + SIDE, left : left + SIDE, :3].astype(np.float32) / 255
        crop = crop[:, :: random.choice((-1, 1))] * np.float32(random.uniform(0.6, 1.0))
        scaled = (crop - np.array(MEAN, dtype=np.float32)) / np.array(DEVIATION, dtype=np.float32)
        yield np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)
