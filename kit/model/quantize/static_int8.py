"""Static int8 by onnxruntime's quantizer in QDQ format, from ranges that are found here."""

import numpy as np
import onnx

from kit.errors import ConversionError
from kit.model.calibrate import Ranges
from kit.model.graph import unshare_biases
from kit.model.quantize.base import Prepared, Quantized
from kit.model.quantize.leftovers import attempt, refuse_nothing, static_leftovers
from kit.model.quantize.pitfalls import one_scale, rectifiers_read_inside, sums_it_would_change, unshare_axes
from kit.model.quantize.prepare import OPSET, require_opset
from kit.model.quantize.stay_float import keep_in_float
from kit.model.quiet import quiet_logging
from kit.records import Recipe

_PLAIN_OPSET = 10
"""QuantizeLinear with one scale a tensor came with opset 10."""


def make_static_int8(prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
    """QDQ form: 8-bit weights, and 8-bit activations between `ranges`; `kept` nodes and the score head stay in float.

    Raises:
        ConversionError: nothing in it can be quantized, or the quantizer fails; with its reason.
    """
    require_opset(prepared, OPSET if recipe.per_channel else _PLAIN_OPSET)
    _check(ranges or {}, prepared.where)
    changed = sums_it_would_change(prepared.proto.graph)
    floats = prepared.head | kept | changed.keys()
    otherwise = "use the same recipe per tensor, or fp32 for this model" if recipe.per_channel else ""
    with quiet_logging():
        quantized = attempt(
            "static quantization", prepared.where, lambda: _quantize(prepared, recipe, floats, ranges), otherwise
        )
    left, converted = static_leftovers(quantized.graph, prepared, kept, quantizable_types(), changed)
    if not converted:
        raise refuse_nothing(prepared, left, "int8")
    return Quantized(quantized, left)


def calibrated_tensors(prepared: Prepared) -> tuple[str, ...]:
    """Float tensors that static int8 may hold in 8 bits, in the graph's order: those of nodes with an int8 form."""
    graph = prepared.proto.graph
    quantizable, constants = quantizable_types(), {tensor.name for tensor in graph.initializer}
    floats = {
        value.name
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    touched = dict.fromkeys(
        name
        for node in graph.node
        if node.op_type in quantizable and node.name not in prepared.head
        for name in (*node.input, *node.output)
    )
    return tuple(name for name in touched if name in floats and name not in constants)


def quantizable_types() -> frozenset[str]:
    """Operators that onnxruntime's static quantizer has an int8 form of."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return frozenset({*QDQRegistry, *QLinearOpsRegistry})


def _check(ranges: Ranges, where: str) -> None:
    """A range that is no number would make an int8 model of nonsense."""
    for name, (low, high) in ranges.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ConversionError(
                f"tensor {name!r} is not finite on the calibration rows: {low} to {high}",
                where=where,
                next_step="look at the calibration rows, and at what the float model makes of them",
            )


def _quantize(prepared: Prepared, recipe: Recipe, floats: frozenset[str], ranges: Ranges | None) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    dtypes = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    weights, activations = dtypes[recipe.weight_dtype], dtypes[recipe.activation_dtype]
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in (ranges or {}).items()}
    model = onnx.ModelProto()
    model.CopyFrom(prepared.proto)
    if recipe.per_channel:
        unshare_axes(model.graph)
    unshare_biases(model.graph)  # the quantizer copies shared biases under names that may be taken
    add_infer_metadata(model)  # else it writes the model to a file and infers again
    quantizer = QDQQuantizer(
        model,
        recipe.per_channel,
        recipe.reduce_range,
        weights,
        activations,
        TensorsData(CalibrationMethod.MinMax, bounds),  # the name of the method changes nothing here
        [],
        sorted(floats | rectifiers_read_inside(model.graph)),
        sorted(quantizable_types()),
        {"TensorQuantOverrides": one_scale(model.graph, weights)},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    keep_in_float(quantized)
    del quantized.metadata_props[:]  # the quantizer's own notes on its steps
    return quantized
