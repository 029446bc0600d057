"""Dynamic int8 by onnxruntime: weights in 8 bits, the ranges of activations found at run time."""

import onnx

from kit.model.calibrate import Ranges
from kit.model.graph import PRODUCTS, constants_of
from kit.model.quantize.base import Prepared, Quantized
from kit.model.quantize.leftovers import attempt, products_left, refuse_nothing
from kit.model.quantize.products import gemms_as_matmuls
from kit.model.quiet import quiet_logging
from kit.records import Recipe

_TAKEN = ("Conv", "MatMul", "LSTM", "Attention")
"""Operators that have a dynamic form."""

_FORMS = ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "QAttention")
"""What products become."""


def make_dynamic_int8(prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
    """Products with constant weights in int8 (convolutions too); no calibration, so `ranges` are not looked at.

    Raises:
        ConversionError: nothing in it can be quantized, or the quantizer fails; with its reason.
    """
    del ranges
    with quiet_logging():
        source = gemms_as_matmuls(prepared.proto, frozenset())  # the quantizer would, under other names
        excluded = prepared.head | kept | _without_weights(source.graph)
        quantized = source
        if any(node.op_type in _TAKEN and node.name not in excluded for node in source.graph.node):
            quantized = attempt("dynamic quantization", prepared.where, lambda: _quantize(source, recipe, excluded))
    left = products_left(quantized.graph, prepared, kept, "onnxruntime has no dynamic form of this operator")
    if not any(node.op_type in _FORMS for node in quantized.graph.node):
        raise refuse_nothing(prepared, left, "dynamic int8")
    return Quantized(quantized, left)


def _without_weights(graph: onnx.GraphProto) -> frozenset[str]:
    """Products whose weights are made at run time: the quantizer fails on convolutions of that kind."""
    held = constants_of(graph)
    return frozenset(node.name for node in graph.node if node.op_type in PRODUCTS and node.input[1] not in held)


def _quantize(source: onnx.ModelProto, recipe: Recipe, excluded: frozenset[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode, add_infer_metadata
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    add_infer_metadata(source)  # else it writes the model to a file and infers again
    quantizer = ONNXQuantizer(
        source,
        recipe.per_channel,
        recipe.reduce_range,
        QuantizationMode.IntegerOps,
        False,  # not static
        QuantType.QInt8 if recipe.weight_dtype == "int8" else QuantType.QUInt8,
        QuantType.QUInt8,  # the only one that the dynamic operators take
        None,
        [],
        sorted(excluded),
        sorted(IntegerOpsRegistry),
        {"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    del quantized.metadata_props[:]  # the quantizer's own notes on its steps
    return quantized
