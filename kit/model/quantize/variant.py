"""Variants of a reference: one maker that prepares and calibrates once, and applies any recipe."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

import kit
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.calibrate import Method, Ranges, calibrate
from kit.model.feeds import Feeds, as_feeds, row_count, spread_rows
from kit.model.integer import PAIR_MAX
from kit.model.load import LoadedModel
from kit.model.metadata import PREFIX, properties, record_of, serialized, with_properties
from kit.model.quantize.base import Maker, Prepared, Quantized
from kit.model.quantize.compact import compact
from kit.model.quantize.dynamic_int8 import make_dynamic_int8
from kit.model.quantize.float16 import float_tensors, make_float16, overflow_note
from kit.model.quantize.prepare import prepare
from kit.model.quantize.selectors import kept_nodes
from kit.model.quantize.static_int8 import calibrated_tensors, make_static_int8
from kit.model.quantize.weight_only import make_weight_only
from kit.model.saturation import saturation_record
from kit.model.session import Array, HostSession, Progress, quiet_runtime, runs_exactly
from kit.records import Precision, Recipe, SaturationRecord, VariantRecord

MAX_CALIBRATION_ROWS = 512
"""Most rows used for calibration; of more, as many are taken at even distances."""

MAKERS: dict[Precision, Maker] = {
    "int8": make_static_int8,
    "int8-dynamic": make_dynamic_int8,
    "fp16": make_float16,
    "int8-weights": make_weight_only,
    "int4-weights": make_weight_only,
}
"""How each precision is made; fp32 is the reference itself."""

INT8 = ("int8", "int8-dynamic")
"""Precisions with int8 sums, which can saturate."""

_NAMED = 5
"""Most nodes that a note names."""

_CHECKED_ROWS = 4
"""Calibration rows that each new variant must run on."""

_NOT_EXACT = "onnxruntime cannot load it with exact int8 sums on x86 (session.x64quantprecision)"
_LOOKS_AT_ROWS = ("int8", "fp16")

_NO_INT8 = SaturationRecord(can_saturate=False, worst_pair=0, limit=PAIR_MAX, nodes_at_risk=(), quantized_nodes=0)


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant's bytes and its record."""

    data: bytes = field(repr=False)
    record: VariantRecord

    @property
    def model(self) -> LoadedModel:
        """The variant as a loaded model."""
        return LoadedModel(self.data, self.record.model)


class VariantMaker:
    """Makes variants of one reference; what it prepares and calibrates, it keeps for the next.

    Args:
        reference: the checked float model.
        feeds: typical inputs by name, [rows, *shape] each, or one array for the only input; needed for static
            int8, and for fp16 to see what overflows. At most `MAX_CALIBRATION_ROWS` are used.
        calibration_digest: digest of the calibration data, kept as lineage.

    Raises:
        ModelError: the rows do not fit the model.
    """

    def __init__(
        self, reference: LoadedModel, feeds: Array | Feeds | None = None, calibration_digest: str | None = None
    ) -> None:
        self.reference = reference
        self.calibration_digest = calibration_digest
        self.feeds = _rows(feeds, reference)
        self.calls = 0
        self._prepared: dict[bool, Prepared] = {}
        self._ranges: dict[tuple[Method, bool], Ranges] = {}
        self._all_ranges: Ranges | None = None
        self._no_ranges = "no typical rows are known"
        self._wanted: list[Method] = []

    def want(self, methods: Iterable[Method]) -> None:
        """Announce methods of calibration: the pass that finds the ranges of one finds those of all."""
        self._wanted = list(dict.fromkeys((*self._wanted, *methods)))

    def prepared(self, equalize: bool = False) -> Prepared:
        """The float model made ready, with scales equalized or not; as `prepare` raises."""
        if equalize not in self._prepared:
            self._prepared[equalize] = _equalized(self.prepared()) if equalize else prepare(self.reference)
        return self._prepared[equalize]

    def ranges(self, method: Method, equalize: bool = False, progress: Progress | None = None) -> Ranges:
        """Ranges of the tensors that static int8 may hold in 8 bits, found once a method and kept.

        Raises:
            UsageError: there are no calibration rows.
            ModelError: the model fails on one.
        """
        if (method, equalize) not in self._ranges:
            if self.feeds is None:
                raise UsageError(
                    "static int8 needs calibration rows", next_step="add a calibration part to the dataset"
                )
            known = self._ranges.keys()
            missing = [each for each in dict.fromkeys((method, *self._wanted)) if (each, equalize) not in known]
            prepared = self.prepared(equalize)
            try:
                found = calibrate(prepared.proto, calibrated_tensors(prepared), self.feeds, missing, progress)
            except ModelError:
                self._check_reference()
                raise
            self._ranges |= {(each, equalize): ranges for each, ranges in found.items()}
        return self._ranges[method, equalize]

    def make(self, recipe: Recipe, progress: Progress | None = None) -> Variant:
        """Apply `recipe`; the same arguments give the same bytes, and fp32 the reference's very bytes.

        Args:
            recipe: what to make.
            progress: called with calibration rows done and in all.

        Raises:
            UsageError: static int8 without calibration rows, or a selector that takes no node.
            ModelError: the model is quantized already, or fails on a calibration row.
            ConversionError: nothing can be quantized, or the quantizer fails; with its reason.
        """
        if recipe.precision == "fp32":
            return _unchanged(self.reference, recipe)
        return self.finished(recipe, self.quantized(recipe, progress))

    def quantized(self, recipe: Recipe, progress: Progress | None = None) -> Quantized:
        """The quantized model with the prepared model's names in it; arguments and errors as of `make`."""
        if recipe.precision == "int8" and (self.feeds is None or self.calibration_digest is None):
            raise UsageError(
                f"recipe {recipe.name!r} needs calibration rows", next_step="add a calibration part to the dataset"
            )
        prepared = self.prepared(recipe.equalize)
        kept = kept_nodes(prepared.proto.graph, recipe.keep_float, prepared.where)
        ranges = self._ranges_for(recipe, progress)
        self.calls += 1
        made = MAKERS[recipe.precision](prepared, recipe, kept, ranges)
        if recipe.precision == "fp16":
            rows = row_count(self.feeds) if self.feeds else 0
            made = replace(made, notes=(*made.notes, overflow_note(ranges, rows, self._no_ranges)))
        if recipe.correct_bias:
            made = _corrected(made, prepared, self.feeds or {})
        return made

    def _ranges_for(self, recipe: Recipe, progress: Progress | None) -> Ranges | None:
        """What the recipe's maker needs to know of the tensors, where it can be known."""
        if recipe.precision == "int8":
            return self.ranges(method_of(recipe), recipe.equalize, progress)
        if recipe.precision == "fp16" and self.feeds is not None:
            return self._magnitudes(progress)
        return None

    def _magnitudes(self, progress: Progress | None) -> Ranges | None:
        """Ranges of every float tensor; None for models that work with infinities (a mask, a logarithm of zero)."""
        if self._all_ranges is None and self.feeds is not None:
            proto, method = self.prepared().proto, Method("minmax")
            try:
                self._all_ranges = calibrate(proto, float_tensors(proto.graph), self.feeds, [method], progress)[method]
            except ModelError as error:
                self._no_ranges = f"ranges of the typical rows could not be found ({error})"
        return self._all_ranges

    def finished(self, recipe: Recipe, made: Quantized) -> Variant:
        """The variant's file, compact and checked, and its record; ConversionError where it does not run."""
        prepared = self.prepared(recipe.equalize)
        parent, calibrated = self.reference, recipe.precision in _LOOKS_AT_ROWS and self.feeds is not None
        rows = row_count(self.feeds) if calibrated and self.feeds else 0
        digest = self.calibration_digest if calibrated else None
        proto = onnx.ModelProto()
        proto.CopyFrom(made.proto)
        compact(proto)
        with_properties(proto, {**properties(parent.proto), **_lineage(parent, recipe, digest, rows)})
        data = serialized(proto)
        notes = (*made.notes, *prepared.skipped, *_grown(len(data), parent.record.size_bytes))
        notes += self._check_runs(data, recipe)
        name = f"{Path(parent.record.name).stem}.{recipe.name.replace('/', '_')}.onnx"
        return Variant(
            data,
            VariantRecord(
                recipe=recipe,
                model=record_of(proto, data, name),
                parent_digest=parent.record.digest,
                calibration_digest=digest,
                calibration_rows=rows,
                left_in_float=made.left_in_float,
                saturation=saturation_record(proto) if recipe.precision in INT8 else _NO_INT8,
                parent_size_bytes=parent.record.size_bytes,
                notes=notes,
            ),
        )

    def _check_runs(self, data: bytes, recipe: Recipe) -> tuple[str, ...]:
        """A variant that the runtime refuses is no variant; what it can do only in part is noted."""
        try:
            session = HostSession(data)
            if self.feeds is not None:
                rows = spread_rows(self.feeds, _CHECKED_ROWS)
                self._check_finite(session.run(rows, flat=True), rows)
        except ModelError as error:
            self._check_reference()
            raise ConversionError(
                f"the quantized model does not run: {error}",
                where=self.reference.record.name,
                next_step=error.next_step or "try another recipe",
            ) from None
        return () if recipe.precision not in INT8 or runs_exactly(data) else (_NOT_EXACT,)

    def _check_reference(self) -> None:
        """Raises ModelError where it is the float model that does not run on these rows."""
        try:
            session = HostSession(self.reference.data)
            if self.feeds is not None:
                session.run(spread_rows(self.feeds, _CHECKED_ROWS), flat=True)
        except ModelError as error:
            raise ModelError(
                f"the float model itself does not run on the calibration rows: {error}",
                where=self.reference.record.name,
                next_step=error.next_step or "look at the model, and at these rows",
            ) from None

    def _check_finite(self, outputs: Mapping[str, Array], rows: Feeds) -> None:
        """What overflows in fewer bits would be no number, or infinite: never a score. Raises ModelError."""
        floats = {name: values for name, values in outputs.items() if values.dtype.kind == "f"}
        broken = [name for name, values in floats.items() if not np.isfinite(values).all()]
        parents = HostSession(self.reference.data).run(rows, flat=True) if broken else {}
        for name in broken:
            ours, theirs = np.isfinite(outputs[name]), np.isfinite(parents[name])
            if theirs.all() or (ours.shape == theirs.shape and (~ours & theirs).any()):
                raise ModelError(f"output {name!r} is not finite, where the float model's is")


def make_variant(
    reference: LoadedModel,
    recipe: Recipe,
    calibration_inputs: Array | Feeds | None,
    calibration_digest: str | None,
    progress: Progress | None = None,
) -> Variant:
    """Apply one recipe, as `VariantMaker.make` does; calibration rows are for static int8 and fp16 alone."""
    feeds = calibration_inputs if recipe.precision in _LOOKS_AT_ROWS else None
    return VariantMaker(reference, feeds, calibration_digest).make(recipe, progress)


def method_of(recipe: Recipe) -> Method:
    """How the recipe finds ranges."""
    return Method(recipe.calibration or "minmax", recipe.percentile)


def _rows(feeds: Array | Feeds | None, reference: LoadedModel) -> dict[str, Array] | None:
    empty = feeds is None or (row_count(feeds) if isinstance(feeds, dict) else len(feeds)) == 0
    if feeds is None or empty:
        return None
    return spread_rows(as_feeds(feeds, reference.record.inputs, reference.record.name), MAX_CALIBRATION_ROWS)


def _unchanged(reference: LoadedModel, recipe: Recipe) -> Variant:
    digest, size = reference.record.digest, reference.record.size_bytes
    return Variant(reference.data, VariantRecord(recipe, reference.record, digest, None, 0, (), _NO_INT8, size))


def _equalized(prepared: Prepared) -> Prepared:
    from kit.model.quantize.equalize import equalize

    done = equalize(prepared)
    return replace(done.prepared, skipped=(*prepared.skipped, *(f"not equalized: {line}" for line in done.fixed)))


def _corrected(made: Quantized, prepared: Prepared, feeds: Feeds) -> Quantized:
    from kit.model.quantize.bias import correct_bias, uncorrected

    rest = uncorrected(made.proto)
    named = ", ".join(rest[:_NAMED]) + (f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else "")
    notes = (f"biases not corrected, since these have none of their own: {named}",) if rest else ()
    return replace(made, proto=correct_bias(made.proto, prepared, feeds), notes=(*made.notes, *notes))


def _lineage(reference: LoadedModel, recipe: Recipe, calibration_digest: str | None, rows: int) -> dict[str, str]:
    """Properties that let the file itself say where it comes from."""
    calibration = {"calibration": calibration_digest, "calibration_rows": str(rows)} if calibration_digest else {}
    own = {
        "tool": f"edgeproof {kit.__version__}, onnxruntime {quiet_runtime().__version__}",
        "parent": reference.record.digest,
        "recipe": json.dumps(asdict(recipe), sort_keys=True),
        **calibration,
    }
    return {f"{PREFIX}{key}": value for key, value in own.items()}


def _grown(size_bytes: int, parent_bytes: int) -> tuple[str, ...]:
    if size_bytes <= parent_bytes:
        return ()
    return (f"larger than its parent: {size_bytes / 1000:.1f} kB against {parent_bytes / 1000:.1f} kB",)
