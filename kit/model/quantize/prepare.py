"""Make a float model ready for every recipe: what a user would otherwise have to do by hand first."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from kit.errors import ConversionError, ModelError
from kit.model.graph import (
    all_nodes,
    drop_unused_domains,
    fix_constants,
    name_nodes,
    plain_biases,
    score_head,
    untyped,
)
from kit.model.load import LoadedModel
from kit.model.metadata import main_opset
from kit.model.quantize.base import Prepared
from kit.model.quiet import quiet_logging
from kit.model.session import quiet_runtime, reason_of

OPSET = 13
"""Per-channel QuantizeLinear came with opset 13 (ONNX operator changelog); older models are raised to it."""

_RESIZE_OPSET = 10
"""Until here Resize (and Upsample before it) had one way to place pixels; opset 11 has many."""

_INT8 = frozenset(
    ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
) | {"QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM", "MatMulNBits"}

GROWTH = 1.2
"""How much larger constant folding may make a model: some have filter banks that are computed from a few numbers."""

Step = Callable[[onnx.ModelProto], onnx.ModelProto]


def prepare(reference: LoadedModel) -> Prepared:
    """`reference` with opset 13 or later, constants folded, batch norms folded into convolutions, types inferred,
    every node with a name of its own, and biases of Gemm as one value a channel.

    A step that fails is left out, and said in `skipped`.

    Raises:
        ModelError: the model is quantized already.
    """
    where, proto = reference.record.name, reference.proto
    if any(node.op_type in _INT8 for node in all_nodes(proto.graph)):
        raise ModelError("it is quantized already", where=where, next_step="give the float model")
    name_nodes(proto.graph)  # the runtime refuses names given twice
    fix_constants(proto)
    skipped: list[str] = []
    with quiet_logging():
        for what, step in _steps(proto):
            try:
                proto = step(proto)
            except Exception as error:  # third-party code on a model that it was not tried on
                skipped.append(f"{what} was left out: {type(error).__name__}: {reason_of(error)}")
    drop_unused_domains(proto)
    name_nodes(proto.graph)
    plain_biases(proto.graph)
    head = score_head(proto.graph)
    return Prepared(proto, where, reference.record.inputs, head, tuple(skipped))


def _steps(proto: onnx.ModelProto) -> Iterator[tuple[str, Step]]:
    if (main_opset(proto) or OPSET) < OPSET:
        yield f"raising the opset from {main_opset(proto)} to {OPSET}", _raised
    yield "folding of constants and batch norms", _folded
    yield "shape inference", _inferred


def require_opset(prepared: Prepared, oldest: int) -> None:
    """Raises ConversionError with the reason, where the opset could not be raised to `oldest`."""
    version = main_opset(prepared.proto) or oldest
    if version < oldest:
        raise ConversionError(
            f"its opset is {version}, int8 needs {oldest}: {'; '.join(prepared.skipped)}",
            where=prepared.where,
            next_step=f"export the model with opset {oldest} or later",
        )


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in opset 13, by the ONNX project's converter, which forgets how images were resized before opset 11:
    from the corner of a pixel, and to the pixel below (Upsample-9, Resize-10 in the ONNX operator changelog)."""
    raised: onnx.ModelProto = onnx.version_converter.convert_version(model, OPSET)
    if (main_opset(model) or OPSET) <= _RESIZE_OPSET:
        for node in all_nodes(raised.graph):
            if node.op_type == "Resize":
                _set(node, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return raised


def _set(node: onnx.NodeProto, **values: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    added = [onnx.helper.make_attribute(name, value) for name, value in values.items()]
    copies = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in (*kept, *added)]
    del node.attribute[:]
    node.attribute.extend(copies)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime's basic optimizer makes of it; constants stay computed at run time where storing them costs
    more than it saves (a filter bank made from a few numbers)."""
    folded = _optimized(model)
    if folded.ByteSize() <= GROWTH * model.ByteSize():
        return folded
    unfolded = _optimized(model, "ConstantFolding")
    return unfolded if unfolded.ByteSize() < folded.ByteSize() else folded


def _optimized(model: onnx.ModelProto, *disabled: str) -> onnx.ModelProto:
    """The graph after onnxruntime's basic optimizer, which writes only to a file."""
    onnxruntime = quiet_runtime()
    with TemporaryDirectory(prefix="edgeproof-") as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled)
        )
        return onnx.load(path)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Types and shapes of all tensors: by ONNX, and by onnxruntime's symbolic inference where that leaves some open."""
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model)
    if not untyped(inferred.graph):
        return inferred
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference  # needs sympy

    symbolic: onnx.ModelProto | None = SymbolicShapeInference.infer_shapes(inferred, auto_merge=True)
    return symbolic or inferred
