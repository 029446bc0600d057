"""What can be searched for slices: columns, the class that is true, numbers in bins, clusters of an embedding."""

from collections.abc import Mapping

import numpy as np

from kit.records import ColumnRecord, DatasetRecord
from kit.slicing.bins import DEFAULT_BINS, quantile_bins
from kit.spec.where import numbers_of

CLASS = "class"

MOST_VALUES = 20
"""A column of more different numbers is cut into bins: each number alone has few rows, and means what its like mean."""


def searched_columns(
    data: DatasetRecord, bins: Mapping[str, int] | None = None, found: Mapping[str, ColumnRecord] | None = None
) -> dict[str, ColumnRecord]:
    """Columns by name, codes int64 [rows]: the dataset's, in their order, then numbers, `found` ones and the class.

    `bins` says into how many quantile bins a column of numbers is cut. The class is left out where a column says it.
    """
    columns = {name: _column(data, name, bins or {}) for name in (*data.columns, *data.numbers)}
    columns |= {name: record for name, record in (found or {}).items() if name not in columns}
    if len(data.classes) > 1 and CLASS not in columns and not any(_same(each, data) for each in columns.values()):
        columns[CLASS] = ColumnRecord(data.classes, data.labels)
    return columns


def _column(data: DatasetRecord, name: str, bins: Mapping[str, int]) -> ColumnRecord:
    record = data.columns.get(name)
    if record is not None and name not in bins and len(record.values) <= MOST_VALUES:
        return record
    numbers = numbers_of(data, name)
    if numbers is None:
        assert record is not None  # only a column of texts has no numbers
        return record
    return quantile_bins(numbers, bins.get(name, DEFAULT_BINS))


def _same(record: ColumnRecord, data: DatasetRecord) -> bool:
    """Whether a column's values and the classes split the rows alike."""
    pairs = len(np.unique(record.codes * max(1, len(data.classes)) + data.labels))
    return pairs == len(np.unique(record.codes)) == len(np.unique(data.labels))
