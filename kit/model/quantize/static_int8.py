"""Static int8 quantization by onnxruntime: preparation, MinMax calibration, QDQ format, and what was left in float."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from kit.errors import ConversionError, EdgeproofError, ModelError
from kit.model.graph import PRODUCTS, drop_unused_domains, flatten_biases, floats_left, name_nodes, score_head
from kit.model.load import LoadedModel
from kit.model.metadata import main_opset
from kit.model.quiet import quiet_logging
from kit.model.session import Array, Progress, as_model_rows, batches, quiet_runtime, reason_of
from kit.records import Recipe, TensorInfo

_OLDEST_OPSET = 13
"""Per-channel QuantizeLinear came with opset 13 (ONNX operator changelog)."""


class CalibrationReader:
    """Feeds calibration rows in batches: the `CalibrationDataReader` of onnxruntime, by its one method."""

    def __init__(self, rows: Array, reference: LoadedModel, progress: Progress | None) -> None:
        if len(reference.record.inputs) != 1:
            raise ModelError(
                f"the model has {len(reference.record.inputs)} inputs; only models with one are calibrated",
                where=reference.record.name,
                next_step="export it with the other inputs as constants",
            )
        wanted: TensorInfo = reference.record.inputs[0]
        self.name = wanted.name
        self.rows = as_model_rows(rows, wanted)
        self.progress = progress
        self.done = 0
        self.feed: Iterator[Array] = batches(self.rows, wanted)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch by input name, None at the end."""
        batch = next(self.feed, None)
        if batch is None:
            return None
        self.done += len(batch)
        if self.progress is not None:
            self.progress(self.done, len(self.rows))
        return {self.name: batch}


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model, and what stayed in float, each as ``operator name: why``."""

    proto: onnx.ModelProto
    left_in_float: tuple[str, ...]


def quantize_int8(reference: LoadedModel, recipe: Recipe, reader: CalibrationReader) -> Quantized:
    """Prepare, calibrate and quantize in a temporary folder that is gone afterwards, whatever happens.

    Raises:
        ModelError: the model is quantized already.
        ConversionError: nothing in it can be quantized, or a step fails; with the reason in the library's words.
    """
    where = reference.record.name
    with TemporaryDirectory(prefix="edgeproof-") as folder, quiet_logging():
        prepared = _prepare(reference, Path(folder))
        head = score_head(prepared.graph)
        quantized = _attempt(
            "static quantization", where, lambda: _quantize(prepared, recipe, reader, head, Path(folder))
        )
    drop_unused_domains(quantized)
    del quantized.metadata_props[:]  # the quantizer's own notes on its steps
    left, converted = floats_left(quantized.graph, head, _quantizable())
    if not converted:
        raise ConversionError(
            f"nothing can be quantized: {_why_nothing(prepared, left)}",
            where=where,
            next_step="use the recipe fp32 alone, or export the model with standard operators",
        )
    return Quantized(quantized, left)


def _why_nothing(prepared: onnx.ModelProto, left: tuple[str, ...]) -> str:
    """Why no product became int8: the first that was left, or that there is none."""
    product = next((line for line in left if line.startswith(PRODUCTS)), None)
    if product:
        return product
    kinds = ", ".join(sorted({node.op_type for node in prepared.graph.node}))
    return f"int8 is for {', '.join(PRODUCTS)}, and this model has only {kinds}"


def _quantizable() -> frozenset[str]:
    """Operators that onnxruntime's static quantizer has an int8 form of."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return frozenset({*QDQRegistry, *QLinearOpsRegistry})


def _attempt(what: str, where: str, action: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """The result of third-party code, whose every failure becomes a ConversionError with its own words."""
    try:
        return action()
    except EdgeproofError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{what} failed: {type(error).__name__}: {reason_of(error)}",
            where=where,
            next_step="use the recipe fp32 for this model, or export it with a newer opset",
        ) from None


def _prepare(reference: LoadedModel, folder: Path) -> onnx.ModelProto:
    """Shapes inferred, constants folded, MatMul and Add fused, every node with a name of its own."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quiet_runtime()
    where = reference.record.name
    source = reference.proto
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "QLinearMatMul") for node in source.graph.node):
        raise ModelError("it is quantized already", where=where, next_step="give the float model")
    if (main_opset(source) or _OLDEST_OPSET) < _OLDEST_OPSET:
        source = _attempt("raising its opset", where, lambda: _raised(source))
    path = folder / "prepared.onnx"

    def run() -> onnx.ModelProto:
        onnx.save(source, folder / "source.onnx")
        quant_pre_process(folder / "source.onnx", path, skip_symbolic_shape=True)
        return onnx.load(path)

    prepared = _attempt("preparation", where, run)
    name_nodes(prepared.graph)
    flatten_biases(prepared.graph)
    return prepared


def _raised(model: onnx.ModelProto) -> onnx.ModelProto:
    raised: onnx.ModelProto = onnx.version_converter.convert_version(model, _OLDEST_OPSET)
    return raised


def _quantize(
    prepared: onnx.ModelProto, recipe: Recipe, reader: CalibrationReader, head: frozenset[str], folder: Path
) -> onnx.ModelProto:
    """onnxruntime's static quantizer. MinMax never with `CalibMaxIntermediateOutputs`: it then skips batches."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    onnx.save(prepared, folder / "named.onnx")
    quantize_static(
        folder / "named.onnx",
        folder / "quantized.onnx",
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=recipe.per_channel,
        reduce_range=recipe.reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=sorted(head),
        calibrate_method=CalibrationMethod.MinMax,
    )
    return onnx.load(folder / "quantized.onnx")
