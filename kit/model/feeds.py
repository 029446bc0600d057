"""Rows for models with any number of inputs: one array an input, of as many rows each."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kit.errors import ModelError
from kit.model.rows import BATCH_BYTES, BATCH_ROWS, Array, as_model_rows, as_whole_rows, is_dynamic, is_whole
from kit.records import TensorInfo

Feeds = Mapping[str, Array]
"""By input name: [rows, *shape]."""


def as_feeds(rows: Array | Feeds, inputs: tuple[TensorInfo, ...], where: str = "") -> dict[str, Array]:
    """`rows` by input name, in the model's dtypes; one array goes to the only input.

    An input that is whole (see `kit.model.rows`) takes [rows, *its shape], any other [rows, *its shape but the first].

    Raises:
        ModelError: an input without rows, rows for no input, or shapes and dtypes that do not fit.
    """
    if isinstance(rows, np.ndarray):
        if len(inputs) != 1:
            names = ", ".join(f"{each.name} [{', '.join(map(str, each.shape))}]" for each in inputs)
            found = f"{rows.dtype} [{', '.join(map(str, rows.shape))}]"
            raise ModelError(
                f"the model has {len(inputs)} inputs ({names}), and the rows are one array, {found}",
                where=where,
                next_step="give an .npz file with one array an input, by the input's name",
            )
        rows = {inputs[0].name: rows}
    known = {each.name for each in inputs}
    missing, extra = [each.name for each in inputs if each.name not in rows], sorted(set(rows) - known)
    if missing or extra:
        what = f"no rows for input {missing[0]!r}" if missing else f"rows for {extra[0]!r}, which is no input"
        raise ModelError(what, where=where, next_step=f"its inputs are: {', '.join(sorted(known))}")
    ready = {each.name: _fitting(rows[each.name], each) for each in inputs}
    lengths = {name: len(array) for name, array in ready.items()}
    if len(set(lengths.values())) != 1:
        raise ModelError(
            f"inputs with different numbers of rows: {lengths}", where=where, next_step="give as many each"
        )
    return ready


def _fitting(rows: Array, wanted: TensorInfo) -> Array:
    return as_whole_rows(rows, wanted) if is_whole(wanted) else as_model_rows(rows, wanted)


def row_count(feeds: Feeds) -> int:
    """Rows of every input."""
    return len(next(iter(feeds.values())))


def spread_rows(feeds: Feeds, most: int) -> dict[str, Array]:
    """At most `most` rows of every input, at even distances, in order."""
    count = row_count(feeds)
    if count <= most:
        return dict(feeds)
    chosen = np.linspace(0, count - 1, most).round().astype(np.int64)
    return {name: array[chosen] for name, array in feeds.items()}


def feed_batches(feeds: Feeds, inputs: tuple[TensorInfo, ...]) -> Iterator[dict[str, Array]]:
    """The rows as the runtime takes them, one by one unless every input is dynamic; a whole input without `rows`."""
    row_bytes = max(1, sum(array[0].nbytes for array in feeds.values()))
    dynamic = all(is_dynamic(each) for each in inputs)
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes)) if dynamic else 1
    whole = {each.name for each in inputs if is_whole(each)}
    for start in range(0, row_count(feeds), step):
        batch = {name: array[start : start + step] for name, array in feeds.items()}
        yield {name: np.asarray(part[0]) if name in whole else part for name, part in batch.items()}


def batch_rows(batch: Feeds, inputs: tuple[TensorInfo, ...]) -> int:
    """Rows of one of `feed_batches`."""
    return next((len(batch[each.name]) for each in inputs if not is_whole(each)), 1)


def joined_rows(parts: Sequence[Array], counts: Sequence[int], output: TensorInfo) -> Array:
    """One output of each batch, of `counts` rows, as [rows, *shape].

    Raises:
        ModelError: it is not one value a row, or of another shape for some rows.
    """
    by_row = not is_whole(output) and [len(part) if part.ndim else 0 for part in parts] == list(counts)
    shapes = {part.shape[1:] if by_row else part.shape for part in parts}
    if len(shapes) > 1 or not (by_row or set(counts) == {1}):
        found = ", ".join(str(list(shape)) for shape in sorted(shapes)[:3])
        raise ModelError(
            f"output {output.name!r} is not one value a row: it has shape {found} for {sum(counts)} rows",
            next_step="export the model with a batch as the first dimension of every output",
        )
    return np.concatenate(parts) if by_row else np.stack(parts)
