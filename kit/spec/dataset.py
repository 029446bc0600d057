"""Dataset manifests: what the rows are, which files hold them, and everything that must be right about them.

A manifest is a TOML file; each part (test, calibration, selection) is an NPZ, CSV or Parquet file beside it, named by
its SHA-256. `load_dataset` reads and checks all of it, so that nothing after it has to.
"""

import hashlib
from collections.abc import Collection
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from kit.errors import DatasetError
from kit.records import DatasetRecord, Int64Array, RaggedRecord, TaskName
from kit.spec import checks, truth
from kit.spec.rows import MEMORY_LIMIT_BYTES, Layout, Rows, data_digest, read_rows
from kit.spec.shapes import ColumnName, ColumnNames, Name, Text
from kit.spec.task import OutputTable, check_task, output_spec, score_rule
from kit.spec.toml import Document, decode, read
from kit.spec.types import Dataset, DatasetPart, Metric, PartRole

DType = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"
]


class DatasetTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows are, and the columns that describe them."""

    name: Name
    task: Annotated[TaskName, Meta(description="what the model does")]
    classes: Annotated[
        tuple[ColumnName, ...],
        Meta(max_length=100_000, description="class names or tokens, in the order of the model's scores"),
    ] = ()
    label: ColumnName | None = None
    labels: ColumnNames = ()
    targets: ColumnNames = ()
    boxes: ColumnName | None = None
    description: Text = ""
    source: Text = ""
    licence: Text = ""
    cluster: ColumnName | None = None
    slices: ColumnNames = ()
    sensitive: ColumnNames = ()
    numbers: ColumnNames = ()
    weight: ColumnName | None = None


class InputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model's input: one array of an NPZ file, or columns of a table (patterns such as ``ax*``)."""

    dtype: Annotated[DType, Meta(description="NumPy's name of the element type")]
    shape: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2**31)], ...],
        Meta(max_length=8, description="shape of one row, without the row dimension"),
    ]
    array: ColumnName | None = None
    columns: Annotated[tuple[ColumnName, ...], Meta(min_length=1, max_length=100_000)] | None = None
    minimum: Annotated[float, Meta(description="least value that can be right")] | None = None
    maximum: Annotated[float, Meta(description="greatest value that can be right")] | None = None
    unit: Text = ""


class PartTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of rows."""

    role: Annotated[PartRole, Meta(description="what the rows are for")]
    path: Annotated[str, Meta(min_length=1, max_length=1000, description="file, relative to the manifest")]
    rows: Annotated[int, Meta(ge=1, le=2**40, description="number of rows")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, 64 hex digits")]


class DatasetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset manifest."""

    dataset: DatasetTable
    input: InputTable
    part: Annotated[tuple[PartTable, ...], Meta(min_length=1, max_length=4, description="the files")]
    output: OutputTable | None = None


def load_dataset(path: str | Path, tolerate: Collection[Metric] = ()) -> Dataset:
    """Read a manifest and every part, all checked.

    A fault that `tolerate` names (data.missing, data.wrong, data.duplicates, data.leaked) is let in: whoever asks for
    that limits it in a profile.

    Raises SpecError (manifest), DatasetError (rows: file, row and column), MissingExtraError (Parquet reader).
    """
    document = read(Path(path))
    file = decode(document, DatasetFile)
    _check_manifest(document, file)
    rows = {part.role: _rows(document, file, index, tolerate) for index, part in enumerate(file.part)}
    for role in _USES:
        if role in rows and "data.leaked" not in tolerate:
            checks.refuse_leak(rows["test"], rows[role], _USES[role])
    parts = {role: _part(file, role, table, tolerate) for role, table in rows.items()}
    if "data.duplicates" not in tolerate:
        checks.refuse_copies(rows["test"], parts["test"].record.cluster)
    return Dataset(
        name=file.dataset.name,
        description=file.dataset.description,
        digest=document.digest,
        path=str(document.path),
        task=file.dataset.task,
        classes=_classes(file.dataset),
        slice_columns=file.dataset.slices,
        output_name=file.output.name if file.output else None,
        test=parts["test"],
        calibration=parts.get("calibration"),
        selection=parts.get("selection"),
        train=parts.get("train"),
        input_minimum=file.input.minimum,
        input_maximum=file.input.maximum,
        output=output_spec(file.output, file.dataset.classes),
    )


_USES: dict[PartRole, str] = {
    "calibration": "calibrate the model",
    "selection": "select the variant",
    "train": "train the model",
}
"""What the rows of a part do, so that the test's must not."""


def _check_manifest(document: Document, file: DatasetFile) -> None:
    """What joins several keys of the manifest."""
    table, roles = file.dataset, [part.role for part in file.part]
    for index, role in enumerate(roles):
        if role in roles[:index]:
            raise document.error(("part", index, "role"), f'a second part with the role "{role}"', "keep one")
    if "test" not in roles:
        raise document.error(("part",), 'no part has the role "test"', 'add a [[part]] with role = "test"')
    for key in ("classes", "slices", "sensitive", "numbers", "labels", "targets"):
        names: tuple[str, ...] = getattr(table, key)
        for index, name in enumerate(names):
            if name in names[:index]:
                raise document.error(("dataset", key, index), f'"{name}" is listed twice', "list it once")
    check_task(document, table, file.output)
    for index, name in enumerate(table.sensitive):
        if name not in table.slices:
            what = f'"{name}" is sensitive, and not among the slices'
            raise document.error(("dataset", "sensitive", index), what, "add it to `slices`: its groups are compared")
        if name == file.input.array:
            what = f'"{name}" is sensitive, and also the model\'s input'
            raise document.error(("dataset", "sensitive", index), what, "the model must not see it")
    if (file.input.array is None) == (file.input.columns is None):
        raise document.error(("input",), "needs `array` (NPZ) or `columns` (CSV, Parquet), and not both", "keep one")
    low, high = file.input.minimum, file.input.maximum
    if low is not None and high is not None and not low <= high:
        raise document.error(("input", "minimum"), "minimum and maximum leave no value between them", "check both")


def _rows(document: Document, file: DatasetFile, index: int, tolerate: Collection[Metric]) -> Rows:
    """One part, read from a file whose digest is the manifest's, its inputs checked."""
    part = file.part[index]
    path = _part_path(document, index, part.path)
    layout = _layout(file, part.rows)
    try:
        with path.open("rb") as stream:
            _check_digest(document, file, index, path, stream)
            rows = read_rows(path, stream, layout)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise DatasetError(what, where=str(path), next_step="check the file and its permissions") from None
    checks.check_inputs(rows, file.input.minimum, file.input.maximum, tolerate)
    return rows


def _layout(file: DatasetFile, rows: int) -> Layout:
    """Which columns a part has, and as what they are read: frames and boxes are arrays in NPZ files, else texts."""
    table, arrays = file.dataset, file.input.array is not None
    has_frames = arrays and table.task == "frames"
    texts = [table.label if not has_frames else None, table.cluster, *table.slices, None if arrays else table.boxes]
    numbers = [table.label if has_frames else None, *table.labels, *table.targets, *table.numbers, table.weight]
    return Layout(
        array=file.input.array,
        columns=file.input.columns or (),
        dtype=np.dtype(file.input.dtype),
        shape=file.input.shape,
        metadata=tuple(dict.fromkeys(name for name in texts if name is not None)),
        rows=rows,
        numbers=tuple(dict.fromkeys(name for name in numbers if name is not None)),
        ragged=(table.boxes,) if arrays and table.boxes is not None else (),
        sensitive=table.sensitive,
    )


def _part_path(document: Document, index: int, text: str) -> Path:
    """The part's file: a regular one inside the manifest's folder, symbolic links followed."""
    key, folder = ("part", index, "path"), document.path.resolve().parent
    try:
        path = (folder / text).resolve()
        inside, exists = path.is_relative_to(folder) and not Path(text).is_absolute(), path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise document.error(key, "not a usable path", "name a file beside the manifest") from None
    if not inside:
        raise document.error(key, f'"{text}" is outside the manifest\'s folder', "keep the data beside the manifest")
    if not exists:
        raise document.error(key, f'there is no file "{text}"', "paths are relative to the manifest")
    if path.stat().st_size > MEMORY_LIMIT_BYTES:
        raise document.error(key, f'"{text}" is larger than 2 GiB', "hold out fewer rows")
    return document.path.parent / text


def _check_digest(document: Document, file: DatasetFile, index: int, path: Path, stream: BufferedReader) -> None:
    found, expected = hashlib.file_digest(stream, "sha256").hexdigest(), file.part[index].sha256
    if found != expected:
        raise DatasetError(
            f"the file has changed: its SHA-256 is {found}, and the manifest says {expected}",
            where=str(path),
            next_step=f"restore the file, or correct {document.path}:{document.line(('part', index, 'sha256'))}",
        )
    stream.seek(0)


def _part(file: DatasetFile, role: PartRole, rows: Rows, tolerate: Collection[Metric]) -> DatasetPart:
    """A part's rows with their truth, clusters and metadata as a record."""
    table, classes = file.dataset, _classes(file.dataset)
    labels, targets = _truth(table, rows)
    columns = {name: checks.slice_column(rows, name, tolerate) for name in table.slices}
    cluster = checks.column(rows, table.cluster).codes if table.cluster else np.arange(len(labels), dtype=np.int64)
    numbers = truth.check_numbers(rows, table.numbers)
    weights = truth.weights(rows, table.weight) if table.weight else None
    more = [] if targets is None else [("targets", targets.values), ("offsets", targets.offsets)]
    more += [(f"number {name}", numbers[name]) for name in sorted(numbers)]
    more += [] if weights is None else [("weight", weights)]
    (sha256,) = (part.sha256 for part in file.part if part.role == role)
    record = DatasetRecord(
        name=table.name,
        digest=f"sha256:{sha256}",
        data_digest=data_digest(rows.inputs, classes, labels, cluster, columns, more),
        rows=len(labels),
        classes=classes,
        labels=labels,
        cluster_column=table.cluster,
        cluster=cluster,
        columns=columns,
        description=table.description,
        task=table.task,
        targets=targets,
        numbers=numbers,
        weights=weights,
        sensitive=table.sensitive,
        scores=score_rule(file.output, table.classes),
    )
    return DatasetPart(role, rows.inputs, record)


def _classes(table: DatasetTable) -> tuple[str, ...]:
    """The classes; what a regression predicts takes their place."""
    return table.classes or table.targets


def _truth(table: DatasetTable, rows: Rows) -> tuple[Int64Array, RaggedRecord | None]:
    """Labels int64 [rows], all 0 where the truth is in the targets."""
    none, name, classes = np.zeros(len(rows.inputs), np.int64), table.label or "", table.classes
    if table.task in ("classification", "anomaly") or (table.task == "embedding" and name and classes):
        return checks.labels(rows, name, classes), None
    if table.task == "multilabel" and table.labels:
        return none, truth.label_columns(rows, table.labels, classes)
    if table.task == "multilabel":
        return none, truth.label_sets(rows, name, classes)
    if table.task == "regression":
        return none, truth.vectors(truth.matrix(rows, table.targets))
    if table.task == "sequence":
        return none, truth.sequences(rows, name, classes)
    if table.task == "frames":
        return none, truth.frames(rows, name, classes)
    if table.task == "detection":
        return none, truth.boxes(rows, table.boxes or "", classes)
    return none, None
