"""Make variants of a reference, each with its lineage inside the file and in its record."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx

import kit
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.load import LoadedModel
from kit.model.metadata import PREFIX, properties, record_of, serialized, with_properties
from kit.model.quantize.static_int8 import CalibrationReader, quantize_int8
from kit.model.saturation import saturation_bound
from kit.model.session import Array, HostSession, Progress, quiet_runtime
from kit.records import Recipe, SaturationRecord, VariantRecord

__all__ = ["MAX_CALIBRATION_ROWS", "Variant", "make_variant"]

MAX_CALIBRATION_ROWS = 512
"""Most rows used for calibration; of more, as many are taken at even distances."""

PAIR_LIMIT = 32767
"""Largest sum of two products that x86 without VNNI holds (Intel SDM, volume 2, PMADDUBSW)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant's bytes and its record."""

    data: bytes = field(repr=False)
    record: VariantRecord

    @property
    def model(self) -> LoadedModel:
        """The variant as a loaded model."""
        return LoadedModel(self.data, self.record.model)


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
    model = quantize_int8(reference, recipe, CalibrationReader(rows, reference, progress))
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
