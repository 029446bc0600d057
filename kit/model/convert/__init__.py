"""From a source model to a verified ONNX reference: one file a converter, found by the file's suffix."""

from dataclasses import dataclass, field
from pathlib import Path

from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Converter, Source
from kit.model.convert.sklearn import SklearnConverter
from kit.model.convert.verify import compare, likely_cause, refuse_if_different
from kit.model.load import LoadedModel, load_onnx, load_onnx_bytes, read_limited
from kit.model.rehearse import rehearse
from kit.model.session import Array, HostSession
from kit.records import ConversionRecord, ModelRecord

CONVERTERS: tuple[Converter, ...] = (SklearnConverter(),)
"""Every converter; a new one is a file beside these, and a row here."""

__all__ = ["CONVERTERS", "Converted", "Converter", "Source", "convert"]


@dataclass(frozen=True, slots=True)
class Converted:
    """An ONNX reference; `conversion` is None where the source was ONNX and nothing was converted."""

    data: bytes = field(repr=False)
    reference: ModelRecord
    conversion: ConversionRecord | None

    @property
    def model(self) -> LoadedModel:
        """The reference as a loaded model."""
        return LoadedModel(self.data, self.reference)


def convert(path: Path, *, inputs: Array, trust_pickle: bool = False, output: str | None = None) -> Converted:
    """Make an ONNX reference of the model at `path`, and verify it on every row of `inputs`.

    Args:
        inputs: [rows, *shape], rows that the source and the reference are compared on.
        trust_pickle: whether a pickle, which can run any code, may be opened.
        output: name of the output that holds the scores, if the model has several.

    Raises:
        UsageError: no converter for this kind of file, or a pickle without `trust_pickle`.
        ModelError: the file is refused, or the rows do not fit the model.
        MissingExtraError: the converter's library is not installed.
        ConversionError: it cannot be converted, or the result computes something else.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return _as_it_is(path, inputs, output)
    converter = next((each for each in CONVERTERS if suffix in each.suffixes), None)
    if converter is None:
        known = ", ".join([".onnx", *(suffix for each in CONVERTERS for suffix in each.suffixes)])
        raise UsageError(f"no converter for {suffix or 'no suffix'}", where=str(path), next_step=f"give one of {known}")
    data = read_limited(path)
    if converter.pickled and not trust_pickle:
        raise UsageError(
            "a pickle can run any code on this computer when it is opened, so it is not",
            where=str(path),
            next_step="add --trust-pickle if you made this file or trust who did",
        )
    version = converter.version()
    return _verified(path, converter.read(path, data), converter.name, version, inputs)


def _as_it_is(path: Path, inputs: Array, output: str | None) -> Converted:
    """An ONNX file is its own reference; one row, run under limits, shows that it is safe to run."""
    model = load_onnx(path)
    try:
        rehearse(model.data, inputs[:1], output)
    except ModelError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise ModelError(error.what, where=where, next_step=error.next_step) from None
    return Converted(model.data, model.record, None)


def _verified(path: Path, source: Source, converter: str, version: str, inputs: Array) -> Converted:
    features = source.record.inputs[0].shape[1:]
    if inputs.shape[1:] != features:
        raise ConversionError(
            f"the model takes rows of shape {list(features)}, the dataset's have {list(inputs.shape[1:])}",
            where=str(path),
            next_step="give the rows on which this model was trained, prepared in the same way",
        )
    model = load_onnx_bytes(source.export(), f"{path.stem}.onnx")
    before, after = source.predict(inputs), HostSession(model.data).predict(inputs)
    found = compare(before, after)
    refuse_if_different(found, before, after, lambda: likely_cause(source.predict, inputs, after), str(path))
    record = ConversionRecord(
        source=source.record,
        model=model.record,
        converter=converter,
        converter_version=version,
        rows=found.rows,
        max_abs_difference=found.max_abs_difference,
        max_rel_difference=found.max_rel_difference,
        decisions_agree=found.rows - len(found.differing_rows),
        differing_rows=tuple(int(row) for row in found.differing_rows),
    )
    return Converted(model.data, model.record, record)
