"""Parts of datasets made from arrays, as `load_dataset` would give them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.quality.shift import shifted
from kit.records import ColumnRecord, DataCheck, DatasetRecord, Float64Array
from kit.spec.types import Dataset, DatasetPart, PartRole


def part(
    role: PartRole,
    inputs: NDArray[Any],
    *,
    labels: NDArray[Any] | None = None,
    cluster: NDArray[Any] | None = None,
    columns: dict[str, list[str]] | None = None,
    numbers: dict[str, Float64Array] | None = None,
    classes: int = 3,
) -> DatasetPart:
    """Rows with labels 0 and clusters of their own unless given."""
    rows = len(inputs)
    records = {}
    for name, texts in (columns or {}).items():
        values, codes = np.unique(np.array(texts), return_inverse=True)
        records[name] = ColumnRecord(tuple(map(str, values)), codes.astype(np.int64))
    record = DatasetRecord(
        name="made", digest="sha256:file", data_digest=f"sha256:{role}", rows=rows,
        classes=tuple(f"c{i}" for i in range(classes)),
        labels=np.zeros(rows, np.int64) if labels is None else labels.astype(np.int64),
        cluster_column=None if cluster is None else "recording",
        cluster=np.arange(rows) if cluster is None else cluster.astype(np.int64),
        columns=records, numbers=numbers or {},
    )  # fmt: skip
    return DatasetPart(role, inputs, record)


def dataset(test: DatasetPart, calibration: DatasetPart | None = None, train: DatasetPart | None = None) -> Dataset:
    """A dataset of these parts."""
    return Dataset(
        name="made", description="", digest="sha256:manifest", path="made.toml", task="classification",
        classes=test.record.classes, slice_columns=(), output_name=None, test=test, calibration=calibration,
        train=train,
    )  # fmt: skip


def named(checks: Iterable[DataCheck], subject: str) -> DataCheck:
    """The check of this subject."""
    (found,) = [check for check in checks if check.subject == subject]
    return found


def share(checks: Iterable[DataCheck], subject: str) -> float:
    """Its share, which must have been looked at."""
    found = named(checks, subject).share
    assert found is not None
    return found


def clustered(
    rng: np.random.Generator, clusters: int, size: int, width: int = 3, shift: float = 0.0
) -> tuple[Float64Array, NDArray[Any]]:
    """Rows about the centre of their cluster, which itself varies more than they do."""
    centre = rng.normal(size=(clusters, width))
    rows = np.repeat(centre, size, axis=0) + 0.3 * rng.normal(size=(clusters * size, width)) + shift
    return rows, np.repeat(np.arange(clusters), size)


def shift_checks(seed: int, shift: float) -> tuple[DataCheck, ...]:
    """12 clusters against 12 others of the same kind, moved by `shift`."""
    rng = np.random.default_rng(seed)
    (a, ca), (b, cb) = clustered(rng, 12, 30, shift=shift), clustered(rng, 12, 30)
    test = part("test", a, cluster=ca, labels=(a[:, 0] > shift) * 1)
    return shifted(test, part("calibration", b, cluster=cb, labels=(b[:, 0] > 0) * 1), rng)
