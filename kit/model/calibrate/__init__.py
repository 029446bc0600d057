"""Ranges of a model's tensors from typical rows, in one pass and in memory that does not grow with them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

import onnx

from kit.errors import ModelError
from kit.model.calibrate.base import DEFAULT_PERCENTILE, ENTROPY_BINS, Method, Ranges
from kit.model.calibrate.observe import Observer
from kit.model.calibrate.statistics import TensorStatistics
from kit.model.calibrate.thresholds import COUNTING, range_of
from kit.model.feeds import Feeds, row_count
from kit.model.rows import Array
from kit.model.session import Progress

__all__ = ["DEFAULT_PERCENTILE", "ENTROPY_BINS", "Method", "Ranges", "calibrate"]


def calibrate(
    proto: onnx.ModelProto,
    tensors: Sequence[str],
    feeds: Feeds | Iterable[Feeds],
    methods: Sequence[Method],
    progress: Progress | None = None,
    *,
    symmetric: bool = False,
    total_rows: int | None = None,
) -> dict[Method, Ranges]:
    """Ranges of `tensors` by every method of `methods`, from one pass over the rows.

    Rows go through the model one by one, so the same rows give the same ranges however they are batched, and no more
    than two rows' tensors are in memory. A tensor that holds no floats, or never held a value, has no range.

    Args:
        proto: the float model; it is not changed.
        tensors: names of inputs and of nodes' outputs.
        feeds: rows by input name, or batches of them; read once.
        methods: for each, ranges are returned.
        progress: called after every row with rows done and in all (rows done again, where `total_rows` is unknown).
        symmetric: ranges have zero in their middle.
        total_rows: rows in `feeds`, where it is an iterator and somebody knows.

    Raises:
        ModelError: there are no rows, they do not fit the model, there is no such tensor, or a value is not finite.
    """
    batches = (feeds,) if isinstance(feeds, Mapping) else feeds
    total = row_count(feeds) if isinstance(feeds, Mapping) and feeds else total_rows
    counted = any(method.name in COUNTING for method in methods)
    observer = Observer(proto, tensors, extremes=not counted)
    kept = {name: TensorStatistics(counted=counted) for name in observer.tensors}
    done = 0
    with closing(observer.rows(batches)) as rows:
        for row in rows:
            _add_row(kept, row, done)
            done += 1
            if progress is not None:
                progress(done, total or done)
    if done == 0:
        raise ModelError("there are no rows to calibrate on", next_step="check the dataset's calibration part")
    return {
        method: {name: range_of(each, method, symmetric=symmetric) for name, each in kept.items() if each.rows}
        for method in methods
    }


def _add_row(kept: Mapping[str, TensorStatistics], row: Mapping[str, Array], number: int) -> None:
    for name, values in row.items():
        try:
            kept[name].add_row(values)
        except ModelError as error:
            raise ModelError(
                f"tensor {name!r} is not finite: {error.what}", where=f"row {number}", next_step=error.next_step
            ) from None
