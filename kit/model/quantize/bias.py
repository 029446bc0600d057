"""Bias correction: what rounding the weights adds to a layer's mean output is taken off its bias.

Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019, arXiv:1906.04721), section
4.2: E[(W' - W) x] = (W' - W) E[x], with x the float model's activations on calibration rows. Only the error of the
weights is corrected, which does not depend on what other layers are in: the empirical form of the paper's appendix also
takes off what clipping loses, and where ranges clip on purpose (percentiles, moving averages) that costs accuracy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kit.errors import ModelError
from kit.model.feeds import Feeds, batch_rows, feed_batches, row_count
from kit.model.graph import PRODUCTS
from kit.model.quantize.base import Prepared
from kit.model.session import Progress, quiet_runtime, reason_of
from kit.records import Float64Array

_BIASED = ("Conv", "ConvTranspose", "Gemm")
"""Products with a bias of their own."""

_ERROR = ".weight_error"
"""Suffix of the tensors that are added to find the errors."""


@dataclass(frozen=True, slots=True)
class Dequantized:
    """One constant in 8 bits or 32: the node that dequantizes it, its float values, and its step or steps."""

    node: onnx.NodeProto
    values: NDArray[np.float32]
    scale: NDArray[np.float32]


def dequantized_constants(graph: onnx.GraphProto) -> dict[str, Dequantized]:
    """By output of each DequantizeLinear whose input is a constant: its float values."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.output[0]: _dequantized(node, [numpy_helper.to_array(constants[name]) for name in node.input])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and all(name in constants for name in node.input)
    }


def _dequantized(node: onnx.NodeProto, inputs: list[NDArray[np.generic]]) -> Dequantized:
    """(q - zero point) * scale, with a scale a tensor or one along `axis` (ONNX, DequantizeLinear)."""
    values, scale, *rest = inputs
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)] if scale.ndim and scale.size > 1 else []
    zero = rest[0].astype(np.int64).reshape(shape) if rest else np.int64(0)
    steps = (values.astype(np.int64) - zero).astype(np.float32)
    steps_of = np.asarray(scale, np.float32)
    return Dequantized(node, np.asarray(steps * steps_of.reshape(shape), dtype=np.float32), steps_of)


def correct_bias(
    quantized: onnx.ModelProto, prepared: Prepared, feeds: Feeds, progress: Progress | None = None
) -> onnx.ModelProto:
    """`quantized` with corrected biases; layers without a bias stay as they are.

    Args:
        quantized: QDQ form of `prepared`; nodes have the same names.
        prepared: the float model.
        feeds: calibration rows by input name; they are run in batches, once.
        progress: called with rows done and in all.

    Raises:
        ModelError: the float model fails on a row.
    """
    corrected: onnx.ModelProto = onnx.ModelProto.FromString(quantized.SerializeToString())
    constants = dequantized_constants(corrected.graph)
    layers = {node.name: node for node in corrected.graph.node if _has_corrigible_bias(node, constants)}
    errors = {name: constants[node.input[1]].values for name, node in layers.items()}
    means = mean_errors(prepared, errors, feeds, progress) if layers else {}
    initializers = {tensor.name: tensor for tensor in corrected.graph.initializer}
    biases = _float_biases(prepared)
    for name, node in layers.items():
        if name in means and name in biases:
            _store(biases[name] - means[name], constants[node.input[2]].node, initializers)
    return corrected


def uncorrected(quantized: onnx.ModelProto) -> tuple[str, ...]:
    """Products with weights in 8 bits whose mean error stays, ``operator name`` each: they have no bias to take it."""
    constants = dequantized_constants(quantized.graph)
    return tuple(
        f"{node.op_type} {node.name}"
        for node in quantized.graph.node
        if node.op_type in PRODUCTS
        and constants.keys() & set(node.input[:2])
        and not _has_corrigible_bias(node, constants)
    )


def _has_corrigible_bias(node: onnx.NodeProto, constants: dict[str, Dequantized]) -> bool:
    return node.op_type in _BIASED and len(node.input) > 2 and constants.keys() >= set(node.input[1:3])


def _float_biases(prepared: Prepared) -> dict[str, Float64Array]:
    """By product: its bias, which `prepare` made free of a factor."""
    constants = {tensor.name: tensor for tensor in prepared.proto.graph.initializer}
    return {
        node.name: numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
        for node in prepared.proto.graph.node
        if node.op_type in _BIASED and len(node.input) > 2 and node.input[2] in constants
    }


def _store(bias: Float64Array, dequantize: onnx.NodeProto, initializers: dict[str, onnx.TensorProto]) -> None:
    """Round `bias` to the steps that its constant has, and put it there."""
    stored, scale = (numpy_helper.to_array(initializers[name]) for name in dequantize.input[:2])
    limits = np.iinfo(stored.dtype)
    steps = np.clip(np.rint(bias / scale.astype(np.float64)), limits.min, limits.max).astype(stored.dtype)
    initializers[dequantize.input[0]].CopyFrom(
        numpy_helper.from_array(steps.reshape(stored.shape), dequantize.input[0])
    )


def mean_errors(
    prepared: Prepared, weights: dict[str, NDArray[np.float32]], feeds: Feeds, progress: Progress | None = None
) -> dict[str, Float64Array]:
    """Mean over rows and places of what each product gives with `weights` (by its name) less what it really gives.

    float64 [output channels] each. A second product with the difference of the weights runs beside each, on the float
    model's own activations; what leaves the runtime is a mean a channel and row.

    Raises:
        ModelError: the model fails on a row.
    """
    proto, names = _with_errors(prepared.proto, weights)
    runtime = quiet_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    sums, counts, done = [np.zeros(1)] * len(names), [0] * len(names), 0
    try:
        session = runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for batch in feed_batches(feeds, prepared.inputs):
            found = session.run([name + _ERROR for name in names], dict(batch))
            sums = [sum_ + _by_channel(each) for sum_, each in zip(sums, found, strict=True)]
            counts = [count + len(each) for count, each in zip(counts, found, strict=True)]  # a row may become many
            done += batch_rows(batch, prepared.inputs)
            if progress is not None:
                progress(done, row_count(feeds))
    except Exception as error:
        raise ModelError(f"its layers' mean errors cannot be found: {reason_of(error)}", where=prepared.where) from None
    return {name: np.asarray(sum_) / n for name, sum_, n in zip(names, sums, counts, strict=True)}


def _by_channel(errors: NDArray[np.float32]) -> Float64Array:
    """[rows, channels, 1, ...] to the sum over rows."""
    summed: Float64Array = errors.astype(np.float64).reshape(errors.shape[:2]).sum(axis=0)
    return summed


def _with_errors(
    prepared: onnx.ModelProto, weights: dict[str, NDArray[np.float32]]
) -> tuple[onnx.ModelProto, list[str]]:
    """The float model with a mean error as output for each product, and those products' names."""
    proto: onnx.ModelProto = onnx.ModelProto.FromString(prepared.SerializeToString())
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = [node for node in proto.graph.node if node.name in weights and node.input[1] in constants]
    del proto.graph.output[:]
    for node in found:
        own = numpy_helper.to_array(constants[node.input[1]])
        proto.graph.initializer.append(numpy_helper.from_array(weights[node.name] - own, node.name + ".difference"))
        proto.graph.node.extend(_error_nodes(node, own.ndim))
        proto.graph.output.append(helper.make_tensor_value_info(node.name + _ERROR, onnx.TensorProto.FLOAT, None))
    return proto, [node.name for node in found]


def _error_nodes(product: onnx.NodeProto, rank: int) -> Iterator[onnx.NodeProto]:
    """The product with the difference of its weights and no bias, and its mean over all places of a row."""
    twin = onnx.NodeProto.FromString(product.SerializeToString())
    twin.name = product.name + ".twin"
    del twin.input[2:]
    twin.input[1] = product.name + ".difference"
    twin.output[0] = product.name + (".places" if rank > 2 else _ERROR)
    yield twin
    if rank > 2:
        yield helper.make_node("GlobalAveragePool", [twin.output[0]], [product.name + _ERROR])
