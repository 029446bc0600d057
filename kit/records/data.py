"""Datasets: the rows that a verdict rests on."""

from dataclasses import dataclass

from kit.records.base import Int64Array


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """A metadata column: codes int64 [rows] into `values`."""

    values: tuple[str, ...]
    codes: Int64Array


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The rows that a verdict rests on, without their inputs: labels, metadata columns and clusters.

    labels: int64 [rows] into `classes`; cluster: int64 [rows], equal for rows that are not independent.
    `cluster_column` is None where every row is its own cluster.
    """

    name: str
    digest: str
    data_digest: str
    rows: int
    classes: tuple[str, ...]
    labels: Int64Array
    cluster_column: str | None
    cluster: Int64Array
    columns: dict[str, ColumnRecord]
    description: str = ""
