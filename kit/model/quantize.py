"""Make variants of a reference: recipes, static int8 quantization, and what it left in float.

Built on `onnxruntime.quantization`: MinMax calibration, QDQ format, unsigned activations, signed weights.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

import kit
from kit.errors import ConversionError, EdgeproofError, ModelError, UsageError
from kit.model.graph import PRODUCTS, drop_unused_domains, flatten_biases, floats_left, name_nodes, score_head
from kit.model.load import LoadedModel
from kit.model.metadata import PREFIX, main_opset, properties, record_of, serialized, with_properties
from kit.model.quiet import quiet_logging
from kit.model.saturation import saturation_bound
from kit.model.session import Array, HostSession, Progress, as_model_rows, batches, quiet_runtime, reason_of
from kit.records import Recipe, SaturationRecord, TensorInfo, VariantRecord

MAX_CALIBRATION_ROWS = 512
"""Most rows used for calibration; of more, as many are taken at even distances."""

PAIR_LIMIT = 32767
"""Largest sum of two products that x86 without VNNI holds (Intel SDM, volume 2, PMADDUBSW)."""

_OLDEST_OPSET = 13
"""Per-channel QuantizeLinear came with opset 13 (ONNX operator changelog)."""


def _int8(name: str, *, per_channel: bool, reduce_range: bool = False) -> Recipe:
    return Recipe(name, "int8", per_channel, reduce_range, "uint8", "int8", "minmax")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "fp32"),
        _int8("int8-per-tensor", per_channel=False),
        _int8("int8-per-channel", per_channel=True),
        _int8("int8-per-channel-reduced", per_channel=True, reduce_range=True),
    )
}
"""Recipes by name. reduced: weights in 7 bits, which no processor's pair sums can saturate."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant's bytes and its record."""

    data: bytes = field(repr=False)
    record: VariantRecord

    @property
    def model(self) -> LoadedModel:
        """The variant as a loaded model."""
        return LoadedModel(self.data, self.record.model)


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; raises UsageError that lists those there are."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}", next_step=f"choose from {', '.join(RECIPES)}")
    return RECIPES[name]


def make_variant(
    reference: LoadedModel,
    recipe: Recipe,
    calibration_inputs: Array | None,
    calibration_digest: str | None,
    progress: Progress | None = None,
) -> Variant:
    """Apply `recipe` to `reference`; the same arguments give the same bytes.

    Args:
        reference: the checked float model; fp32 returns its very bytes.
        calibration_inputs: [rows, *shape], typical inputs, for int8; at most `MAX_CALIBRATION_ROWS` are used.
        calibration_digest: digest of the calibration data, kept as lineage.
        progress: called with calibration rows done and in all.

    Raises:
        UsageError: int8 without calibration rows.
        ModelError: the rows do not fit the model, or it is quantized already.
        ConversionError: nothing can be quantized, or the quantizer fails; with its reason.
    """
    if recipe.precision == "fp32":
        return _unchanged(reference, recipe)
    if calibration_inputs is None or calibration_digest is None or len(calibration_inputs) == 0:
        raise UsageError(
            f"recipe {recipe.name!r} needs calibration rows", next_step="add a calibration part to the dataset"
        )
    rows = _spread(calibration_inputs)
    model = _quantized(reference, recipe, _Reader(rows, reference, progress))
    left = model.left_in_float
    lineage = _lineage(reference, recipe, calibration_digest, len(rows))
    proto = with_properties(model.proto, {**properties(reference.proto), **lineage})
    data = serialized(proto)
    _check_runs(data, reference)
    name = f"{Path(reference.record.name).stem}.{recipe.name}.onnx"
    record = record_of(proto, data, name)
    saturation = _saturation(proto)
    return Variant(
        data,
        VariantRecord(recipe, record, reference.record.digest, calibration_digest, len(rows), left, saturation),
    )


def _unchanged(reference: LoadedModel, recipe: Recipe) -> Variant:
    none = SaturationRecord(can_saturate=False, worst_pair=0, limit=PAIR_LIMIT, nodes_at_risk=(), quantized_nodes=0)
    record = VariantRecord(recipe, reference.record, reference.record.digest, None, 0, (), none)
    return Variant(reference.data, record)


def _spread(rows: Array) -> Array:
    """At most `MAX_CALIBRATION_ROWS` rows at even distances, in order."""
    if len(rows) <= MAX_CALIBRATION_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_CALIBRATION_ROWS).round().astype(np.int64)]


class _Reader:
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
class _Quantized:
    proto: onnx.ModelProto
    left_in_float: tuple[str, ...]


def _quantized(reference: LoadedModel, recipe: Recipe, reader: _Reader) -> _Quantized:
    """Prepare, calibrate and quantize in a temporary folder that is gone afterwards, whatever happens."""
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
    return _Quantized(quantized, left)


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
    prepared: onnx.ModelProto, recipe: Recipe, reader: _Reader, head: frozenset[str], folder: Path
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


def _lineage(reference: LoadedModel, recipe: Recipe, calibration_digest: str, rows: int) -> dict[str, str]:
    """Properties that let the file itself say where it comes from."""
    return {
        f"{PREFIX}tool": f"edgeproof {kit.__version__}, onnxruntime {quiet_runtime().__version__}",
        f"{PREFIX}parent": reference.record.digest,
        f"{PREFIX}recipe": json.dumps(asdict(recipe), sort_keys=True),
        f"{PREFIX}calibration": calibration_digest,
        f"{PREFIX}calibration_rows": str(rows),
    }


def _check_runs(data: bytes, reference: LoadedModel) -> None:
    """A variant that the runtime refuses is no variant."""
    try:
        HostSession(data)
    except ModelError as error:
        raise ConversionError(
            f"the quantized model does not load: {error.what}", where=reference.record.name, next_step=error.next_step
        ) from None


def _saturation(model: onnx.ModelProto) -> SaturationRecord:
    """The bound over all int8 nodes, for the record."""
    nodes = saturation_bound(model)
    at_risk = tuple(node.name for node in nodes if node.can_saturate)
    worst = max((node.worst_pair for node in nodes), key=abs, default=0)
    return SaturationRecord(bool(at_risk), worst, PAIR_LIMIT, at_risk, len(nodes))
