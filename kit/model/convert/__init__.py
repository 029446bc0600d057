"""From a source model to a verified ONNX reference: one file a converter, each run in a process of its own."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from onnx.defs import onnx_opset_version

from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Converter, Options, Source
from kit.model.convert.onnx import OnnxConverter
from kit.model.convert.process import RemoteSource, opened
from kit.model.convert.registry import CONVERTERS, converter_for, start_of
from kit.model.convert.rows import described_rows, fitted_rows, generated_rows, naming_rows, rows_from, transposition
from kit.model.convert.stamp import stamped
from kit.model.convert.verify import (
    REPEATED_ROWS,
    Comparison,
    compare,
    deciding_output,
    likely_cause,
    refuse_chance,
    refuse_if_different,
    refuse_untrue_shapes,
)
from kit.model.feeds import Feeds
from kit.model.load import LoadedModel, load_onnx, load_onnx_bytes
from kit.model.rehearse import rehearse
from kit.model.session import Array
from kit.records import ConversionRecord, ModelRecord, TensorInfo

__all__ = [
    "CONVERTERS",
    "STEPS",
    "Converted",
    "Converter",
    "Options",
    "Source",
    "Watcher",
    "convert",
    "converter_for",
    "reference_of",
    "rows_from",
    "start_of",
]

STEPS = {"read": 8.0, "convert": 1.5, "run the source": 0.5, "run the ONNX model": 1.5}
"""What a conversion does, in order, and how long each is thought to take, s; only their proportions matter.

Most of the time goes to importing the source's library, and with PyTorch to its export, which is read's."""

OLDEST_OPSET = 7
"""The first that onnxruntime runs in full."""


class Watcher(Protocol):
    """Told which step runs and how far it is."""

    def start(self, step: str) -> None:
        """A step begins."""

    def update(self, done: int, total: int) -> None:
        """So much of it is done."""

    def finish(self, step: str) -> None:
        """It has ended."""


class _Nobody:
    """Watches nothing."""

    def start(self, step: str) -> None:
        """A step begins."""

    def update(self, done: int, total: int) -> None:
        """So much of it is done."""

    def finish(self, step: str) -> None:
        """It has ended."""


@dataclass(frozen=True, slots=True)
class Converted:
    """An ONNX reference; `conversion` is None where the source was ONNX and nothing was converted.

    notes: what was decided for the user, and what the verification cannot say, a sentence each.
    """

    data: bytes = field(repr=False)
    reference: ModelRecord
    conversion: ConversionRecord | None
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> LoadedModel:
        """The reference as a loaded model."""
        return LoadedModel(self.data, self.reference)


def convert(
    path: Path,
    *,
    rows: Array | Feeds | None = None,
    rows_path: Path | None = None,
    options: Options | None = None,
    output: str | None = None,
    watcher: Watcher | None = None,
) -> Converted:
    """Make an ONNX reference of the model at `path`, and verify it on every row.

    Args:
        path: the source model, a file or a folder.
        rows: by input name, or one array for the only input: [rows, *shape]; None generates rows. They also say what
            a source takes that does not say so itself, unless `options` do.
        rows_path: the file that they are from, for messages.
        output: name of the output that holds the scores, if several could.
        watcher: told the steps of `STEPS`.

    Raises:
        UsageError: no converter for this kind of file, a pickle without trust, or an option that is missing or wrong.
        ModelError: the file is refused, or the rows do not fit the model.
        MissingExtraError: the converter's library is not installed.
        ConversionError: it cannot be converted, or the result computes something else.
    """
    options, watcher = options or Options(), watcher or _Nobody()
    if rows is not None and not options.inputs:
        options = replace(options, inputs=described_rows(rows))
    converter = converter_for(path)
    _check_options(converter, path, options)
    version = converter.version()
    watcher.start("read")
    with opened(converter, path, options) as source:
        watcher.finish("read")
        watcher.start("convert")
        data = stamped(_exported(source, path), source.record, converter.name, version, path.stem)
        watcher.finish("convert")
        return _verified(path, source.source, data, converter.name, version, rows, output, watcher, rows_path)


def reference_of(
    path: Path,
    *,
    rows: Array,
    options: Options | None = None,
    output: str | None = None,
    watcher: Watcher | None = None,
    lists: bool = False,
) -> Converted:
    """The float reference of a model: an ONNX file as it is, anything else converted; raises as `convert` does.

    lists: the answers that are wanted are a list a row, so that an output of any shape will do.
    """
    if isinstance(converter_for(path), OnnxConverter):
        return _as_it_is(path, rows, output, lists=lists)
    return convert(path, rows=rows, options=options, output=output, watcher=watcher)


def _check_options(converter: Converter, path: Path, options: Options) -> None:
    newest = onnx_opset_version()
    if not OLDEST_OPSET <= options.target_opset <= newest:
        raise UsageError(f"opset {options.opset} is not made here", next_step=f"give {OLDEST_OPSET} to {newest}")
    if converter.is_pickle(path, start_of(path)) and not options.trust_pickle:
        raise UsageError(
            "a pickle can run any code on this computer, so it is not opened without --trust-pickle",
            where=str(path),
            next_step="add --trust-pickle if you made this file or trust who did",
        )


def _exported(source: RemoteSource, path: Path) -> bytes:
    """The model's bytes, checked before anything else parses them: a converter's process is not trusted."""
    try:
        return load_onnx_bytes(source.export(), f"{path.stem}.onnx").data
    except ModelError as error:
        raise ConversionError(
            f"the converter made a model that is refused: {error.what}", where=str(path), next_step=error.next_step
        ) from None


def _as_it_is(path: Path, rows: Array, output: str | None, *, lists: bool) -> Converted:
    """An ONNX file is its own reference; one row, run under limits, shows that it is safe to run."""
    model = load_onnx(path)
    try:
        rehearse(model.data, rows[:1], output, every=lists)
    except ModelError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise ModelError(error.what, where=where, next_step=error.next_step) from None
    return Converted(model.data, model.record, None)


def _verified(
    path: Path,
    source: Source,
    data: bytes,
    converter: str,
    version: str,
    rows: Array | Feeds | None,
    output: str | None = None,
    watcher: Watcher | None = None,
    rows_path: Path | None = None,
) -> Converted:
    """The model in `data` with its record, if it computes what `source` does."""
    model = load_onnx_bytes(data, f"{path.stem}.onnx")
    _check_interface(source.record, model.record, str(path))
    inputs = source.record.inputs
    feeds = generated_rows(inputs) if rows is None else fitted_rows(rows, inputs, str(rows_path or path))
    source = replace(source, predict=naming_rows(source.predict, str(rows_path or path)))
    found = _compared(path, source, data, feeds, output, watcher or _Nobody())
    largest, differing = found.largest, found.differing_rows
    record = ConversionRecord(
        source=source.record,
        model=model.record,
        converter=converter,
        converter_version=version,
        rows=found.rows,
        max_abs_difference=largest.max_abs_difference,
        max_rel_difference=largest.max_rel_difference,
        decisions_agree=None if differing is None else found.rows - len(differing),
        differing_rows=() if differing is None else tuple(int(row) for row in differing),
        outputs=found.outputs,
        row_source="generated" if rows is None else "dataset",
    )
    return Converted(data, model.record, record, (*source.notes, *_notes(found, rows is None)))


def _compared(
    path: Path, source: Source, data: bytes, feeds: Feeds, output: str | None, watcher: Watcher
) -> Comparison:
    """Source and ONNX model on the same rows, each in its own process; ConversionError if they differ."""
    decides = deciding_output(source.record.outputs, output)
    watcher.start("run the source")
    before = source.predict(feeds)
    refuse_untrue_shapes(source.record.outputs, before, str(path))
    again = {name: array[:REPEATED_ROWS] for name, array in feeds.items()}
    twice = source.predict(again), source.predict(again)
    watcher.finish("run the source")
    watcher.start("run the ONNX model")
    after = _run_onnx(path, data, feeds)
    watcher.finish("run the ONNX model")
    try:
        found = compare(before, after, decides=decides, tolerances=source.tolerances)
    except ConversionError as error:
        raise ConversionError(error.what, where=str(path), next_step=error.next_step) from None

    refuse_chance(*twice, source.tolerances, str(path))

    def cause() -> str:
        return likely_cause(source.predict, feeds, after, source.tolerances)

    refuse_if_different(found, before, after, cause, str(path))
    return found


def _run_onnx(path: Path, data: bytes, feeds: Feeds) -> dict[str, Array]:
    """All outputs of the converted model, run in a process of its own: it is no more trusted than its source."""
    with TemporaryDirectory(prefix="edgeproof-") as folder:
        file = Path(folder) / f"{path.stem}.onnx"
        file.write_bytes(data)
        try:
            with opened(OnnxConverter(), file, Options()) as model:
                return dict(model.predict(feeds))
        except (ModelError, ConversionError) as error:
            raise ConversionError(
                f"the converted model does not run: {error.what}", where=str(path), next_step=error.next_step
            ) from None


def _check_interface(source: ModelRecord, model: ModelRecord, where: str) -> None:
    """Names, dtypes and shapes of the ONNX model must be what its converter says of the source."""
    for kind, wanted, have in (("input", source.inputs, model.inputs), ("output", source.outputs, model.outputs)):
        if [each.name for each in wanted] != [each.name for each in have]:
            raise ConversionError(
                f"the source has the {kind}s {_names(wanted)}, the ONNX model {_names(have)}",
                where=where,
                next_step="this is the converter's doing: report it with the model's kind",
            )
        for one, other in zip(wanted, have, strict=True):
            _check_tensor(kind, one, other, where)


def _check_tensor(kind: str, source: TensorInfo, model: TensorInfo, where: str) -> None:
    if kind == "input" and source.dtype != model.dtype:
        raise ConversionError(
            f"input {source.name!r} is {source.dtype} in the source and {model.dtype} in the ONNX model (dtype)",
            where=where,
            next_step="convert it with inputs of the source's type: --input NAME=SHAPE:DTYPE",
        )
    sizes = [(one, other) for one, other in zip(source.shape, model.shape, strict=False) if _differ(one, other)]
    if kind == "input" and (sizes or len(source.shape) != len(model.shape)):
        fixed = tuple(size for size in source.shape[1:] if isinstance(size, int))
        layout = ": the same sizes in another order (layout)" if transposition(fixed, model.shape[1:]) else ""
        raise ConversionError(
            f"input {source.name!r} is {list(source.shape)} in the source and {list(model.shape)} in the ONNX model"
            f"{layout}",
            where=where,
            next_step="convert it with the source's shape: --input NAME=SHAPE:DTYPE",
        )


def _differ(one: int | str, other: int | str) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one != other


def _names(tensors: tuple[TensorInfo, ...]) -> str:
    return ", ".join(each.name for each in tensors)


def _notes(found: Comparison, generated: bool) -> list[str]:
    """What the comparison cannot say, or left to the user."""
    notes = []
    if generated:
        notes.append(
            "Verified on generated rows only: they show that source and ONNX agree, not how they decide on real data "
            "(give --data)."
        )
    if found.decides is None:
        notes.append("No output holds scores of classes, or several could, so no decisions were compared.")
    if len(found.not_finite):
        notes.append(f"The source itself is not finite on {len(found.not_finite)} rows; the ONNX model equally.")
    return notes
