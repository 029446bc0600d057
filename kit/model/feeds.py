"""Rows for models with any number of inputs: one array an input, of as many rows each."""

from collections.abc import Iterator, Mapping

import numpy as np

from kit.errors import ModelError
from kit.model.session import Array, as_model_rows
from kit.records import TensorInfo

Feeds = Mapping[str, Array]
"""By input name: [rows, *shape]."""

BATCH_BYTES = 1 << 20
BATCH_ROWS = 128


def as_feeds(rows: Array | Feeds, inputs: tuple[TensorInfo, ...], where: str = "") -> dict[str, Array]:
    """`rows` by input name, in the model's dtypes; one array goes to the only input.

    Raises:
        ModelError: an input without rows, rows for no input, or shapes and dtypes that do not fit.
    """
    if isinstance(rows, np.ndarray):
        if len(inputs) != 1:
            names = ", ".join(f"{each.name} {list(each.shape)}" for each in inputs)
            raise ModelError(
                f"the model has {len(inputs)} inputs ({names}), and the rows are one array",
                where=where,
                next_step="give an .npz file with one array an input, by the input's name",
            )
        rows = {inputs[0].name: rows}
    known = {each.name for each in inputs}
    missing, extra = [each.name for each in inputs if each.name not in rows], sorted(set(rows) - known)
    if missing or extra:
        what = f"no rows for input {missing[0]!r}" if missing else f"rows for {extra[0]!r}, which is no input"
        raise ModelError(what, where=where, next_step=f"its inputs are: {', '.join(sorted(known))}")
    lengths = {name: len(array) for name, array in rows.items()}
    if len(set(lengths.values())) != 1:
        raise ModelError(
            f"inputs with different numbers of rows: {lengths}", where=where, next_step="give as many each"
        )
    return {each.name: as_model_rows(rows[each.name], each) for each in inputs}


def row_count(feeds: Feeds) -> int:
    """Rows of every input."""
    return len(next(iter(feeds.values())))


def feed_batches(feeds: Feeds, inputs: tuple[TensorInfo, ...]) -> Iterator[dict[str, Array]]:
    """The rows in batches that the model takes: one by one unless every input's first dimension is dynamic."""
    dynamic = all(each.shape and not isinstance(each.shape[0], int) for each in inputs)
    row_bytes = max(1, sum(array[0].nbytes for array in feeds.values()))
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes)) if dynamic else 1
    for start in range(0, row_count(feeds), step):
        yield {name: array[start : start + step] for name, array in feeds.items()}
