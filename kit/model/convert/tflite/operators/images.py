"""Images: pooling, resizing, borders, blocks of pixels; channels first, where ONNX wants them."""

from typing import Any

import numpy as np

from kit.model.convert.tflite.builder import FIRST, Builder, UnsupportedError
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles
from kit.model.convert.tflite.operators.shared import explicit_pads, quantized_alike


@handles("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(build: Builder, operator: Operator) -> None:
    (source,), (result,), options = operator.inputs, operator.outputs, operator.options
    kernel = options.filterHeight, options.filterWidth
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [options.strideH, options.strideW],
        "pads": explicit_pads(build, operator, kernel),
    }
    if operator.name == "AVERAGE_POOL_2D":
        settings["count_include_pad"] = 0  # TensorFlow averages over what lies inside
    kind = "MaxPool" if operator.name == "MAX_POOL_2D" else "AveragePool"
    name = build.one(kind, build.real(source, FIRST), **settings)
    build.put_real(result, name, FIRST, int(options.fusedActivationFunction))


@handles("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(build: Builder, operator: Operator) -> None:
    source, size = operator.inputs
    given, wanted = build.tensor(source).signature[1:3], build.numbers(size)
    if min(given) < 0:
        raise UnsupportedError("it resizes images of a size that is not known beforehand")
    scales = build.literal([1.0, 1.0, wanted[0] / given[0], wanted[1] / given[1]], np.float32)
    name = build.one("Resize", build.real(source, FIRST), "", scales, **_sampling(operator))
    build.put_real(operator.outputs[0], name, FIRST)


def _sampling(operator: Operator) -> dict[str, str]:
    """ONNX's attributes for the way in which TensorFlow Lite places the pixels of the result on those of the source."""
    options = operator.options
    place = "half_pixel" if options.halfPixelCenters else "align_corners" if options.alignCorners else "asymmetric"
    if operator.name == "RESIZE_BILINEAR":
        return {"mode": "linear", "coordinate_transformation_mode": place}
    return {
        "mode": "nearest",
        "nearest_mode": "round_prefer_ceil" if place == "align_corners" else "floor",
        "coordinate_transformation_mode": "tf_half_pixel_for_nn" if place == "half_pixel" else place,
    }


@handles("PAD", "PADV2", "MIRROR_PAD")
def _pad(build: Builder, operator: Operator) -> None:
    source, paddings = operator.inputs[:2]
    pairs = np.reshape(build.numbers(paddings), (-1, 2))  # before and after, for each dimension
    layout = build.layout_of(source) if len(pairs) == 4 else ()
    if layout:
        pairs = pairs[list(layout)]
    amounts = build.literal(pairs.T.reshape(-1), np.int64)
    if operator.name == "MIRROR_PAD":
        if int(operator.options.mode):
            raise UnsupportedError("it repeats the border (SYMMETRIC)")
        name = build.one("Pad", build.real(source, layout), amounts, mode="reflect")
    else:
        name = build.one("Pad", build.real(source, layout), amounts, _padding_value(build, operator))
    build.put_real(operator.outputs[0], name, layout)


def _padding_value(build: Builder, operator: Operator) -> str:
    """The constant that a border holds, as a real value: 0 if the operator gives none."""
    source = operator.inputs[0]
    quantized = build.quantization(source) is not None
    values = build.constant(operator.inputs[2]) if operator.name == "PADV2" else np.zeros(1)
    if values is None or (operator.name == "PADV2" and quantized):
        raise UnsupportedError("it pads with a value that is computed or quantized")
    return build.literal(values.reshape(-1)[0], "float32" if quantized else build.tensor(source).dtype)


@handles("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _blocks(build: Builder, operator: Operator) -> None:
    (source,), (result,) = operator.inputs, operator.outputs
    if not quantized_alike(build, operator, source):
        raise UnsupportedError("its result is quantized otherwise")
    kind = "DepthToSpace" if operator.name == "DEPTH_TO_SPACE" else "SpaceToDepth"
    name = build.one(kind, build.stored(source, FIRST), blocksize=operator.options.blockSize)
    build.put(result, name, FIRST)
