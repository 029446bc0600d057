"""Weights of matrix products in blocks of 8 or 4 bits, by onnxruntime: smaller files, activations in float."""

from importlib.util import find_spec

import onnx

from kit.errors import MissingExtraError
from kit.model.calibrate import Ranges
from kit.model.graph import all_nodes
from kit.model.quantize.base import Prepared, Quantized
from kit.model.quantize.leftovers import attempt, products_left, refuse_nothing
from kit.model.quantize.products import gemms_as_matmuls
from kit.model.quiet import quiet_logging
from kit.records import Recipe
from kit.spec.recipe import BLOCK_SIZE

_BITS = {"int8-weights": 8, "int4-weights": 4}
_NO_FORM = "weights in blocks are for matrix products alone"


def make_weight_only(prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
    """Constant matrices of MatMul, and of Gemm where that is the same sum, with a scale and a zero point a block.

    Raises:
        ConversionError: no such product, or the quantizer fails; with its reason.
        MissingExtraError: the quantizer's own library is not installed.
    """
    del ranges
    if find_spec("onnx_ir") is None:
        needed = f"recipe {recipe.name!r} needs onnx-ir, which onnxruntime quantizes weights with"
        raise MissingExtraError(needed, where=prepared.where, next_step="pip install 'edgeproof[weights]'")
    with quiet_logging():
        source = gemms_as_matmuls(prepared.proto, kept)
        quantized = attempt("weight-only quantization", prepared.where, lambda: _quantize(source, recipe, kept))
    left = products_left(quantized.graph, prepared, kept, _NO_FORM)
    if not any(node.op_type == "MatMulNBits" for node in all_nodes(quantized.graph)):
        raise refuse_nothing(prepared, left, f"{recipe.precision} quantization", ("Gemm", "MatMul"))
    return Quantized(quantized, left)


def _quantize(source: onnx.ModelProto, recipe: Recipe, kept: frozenset[str]) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        source,
        bits=_BITS[recipe.precision],
        block_size=recipe.block_size or BLOCK_SIZE,
        is_symmetric=False,
        nodes_to_exclude=sorted(kept),
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized
