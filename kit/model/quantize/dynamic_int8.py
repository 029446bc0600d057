"""Dynamic int8 by onnxruntime: weights in 8 bits, the ranges of activations found at run time."""

import onnx

from kit.model.calibrate import Ranges
from kit.model.quantize.base import Prepared, Quantized
from kit.model.quantize.leftovers import attempt, products_left, refuse_nothing
from kit.model.quantize.products import gemms_as_matmuls
from kit.model.quiet import quiet_logging
from kit.records import Recipe

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
        quantized = attempt("dynamic quantization", prepared.where, lambda: _quantize(source, prepared, recipe, kept))
    left = products_left(quantized.graph, prepared, kept, "onnxruntime has no dynamic form of this operator")
    if not any(node.op_type in _FORMS for node in quantized.graph.node):
        raise refuse_nothing(prepared, left, "dynamic int8")
    return Quantized(quantized, left)


def _quantize(source: onnx.ModelProto, prepared: Prepared, recipe: Recipe, kept: frozenset[str]) -> onnx.ModelProto:
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
        sorted(prepared.head | kept),
        sorted(IntegerOpsRegistry),
        {"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    del quantized.metadata_props[:]  # the quantizer's own notes on its steps
    return quantized
