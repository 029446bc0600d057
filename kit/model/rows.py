"""Rows for one input of a model: their shape and dtype, and how the runtime takes them.

Most inputs are [batch, *shape] with a batch that is 1 or dynamic: a row is [*shape]. An input without a batch (a
scalar such as a sampling rate, a state of fixed shape) is *whole*: a row is all of it, and rows go one by one.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kit.errors import ModelError
from kit.interface import check_input
from kit.records import TensorInfo

Array = NDArray[np.generic]

BATCH_BYTES = 1 << 20
BATCH_ROWS = 128
"""What goes through the model at once: at most so many rows, of so many bytes together."""


def is_whole(wanted: TensorInfo) -> bool:
    """Whether a row is all of this input, since its first dimension is no batch."""
    return not wanted.shape or (isinstance(wanted.shape[0], int) and wanted.shape[0] != 1)


def is_dynamic(wanted: TensorInfo) -> bool:
    """Whether it takes any number of rows at once."""
    return bool(wanted.shape) and not isinstance(wanted.shape[0], int)


def as_model_rows(inputs: Array, wanted: TensorInfo) -> Array:
    """`inputs` in the dtype of `wanted`, contiguous, their shape checked; nothing is lost or guessed.

    Raises:
        ModelError: the shape does not fit, or the dtype differs in kind or would lose digits.
    """
    if inputs.ndim == 0 or len(inputs) == 0:
        raise ModelError("there are no rows to run the model on", next_step="check the dataset's parts")
    _check_shape(inputs, wanted)
    if inputs.dtype == wanted.dtype:
        return np.ascontiguousarray(inputs)
    return _same_values(inputs, wanted)


def as_whole_rows(inputs: Array, wanted: TensorInfo) -> Array:
    """As `as_model_rows`, for an input that is whole: rows are [rows, *wanted.shape].

    Raises:
        ModelError: as `as_model_rows`.
    """
    row = TensorInfo(wanted.name, wanted.dtype, (1, *wanted.shape))
    return as_model_rows(inputs, row)


def _check_shape(inputs: Array, wanted: TensorInfo) -> None:
    try:
        check_input([wanted.name], wanted.shape, inputs.shape[1:])
    except ModelError as error:
        cause = _shape_cause(inputs.shape[1:], wanted.shape[1:])
        raise ModelError(error.what + cause, next_step=error.next_step) from None


def _same_values(inputs: Array, wanted: TensorInfo) -> Array:
    """`inputs` in another width of the same kind of number, if that changes no value."""
    next_step = f"store the rows as {wanted.dtype}, as the model was trained on them"
    if wanted.dtype not in _NUMBERS or inputs.dtype.kind != np.dtype(wanted.dtype).kind:
        cause = "; raw pixels or counts, not yet scaled?" if inputs.dtype.kind in "iu" else ""
        raise ModelError(f"the rows are {inputs.dtype}, the model wants {wanted.dtype}{cause}", next_step=next_step)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(inputs, dtype=wanted.dtype)
    if not np.array_equal(cast, inputs, equal_nan=inputs.dtype.kind == "f"):
        raise ModelError(
            f"the rows are {inputs.dtype} and lose digits as {wanted.dtype}, which the model wants", next_step=next_step
        )
    return cast


_NUMBERS = frozenset({f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} - {"float8"})


def _shape_cause(got: tuple[int, ...], want: tuple[int | str, ...]) -> str:
    """What a misfit of shapes looks like; empty if like nothing known."""
    sizes = [size for size in want if isinstance(size, int)]
    if len(sizes) < len(want) or got == want:
        return ""
    if sorted(got) == sorted(sizes):
        return "; the sizes are the same in another order: a transpose is missing"
    if math.prod(got) == math.prod(sizes):
        return "; it holds as many values in another shape: a reshape is missing"
    return ""


def batches(rows: Array, wanted: TensorInfo) -> Iterator[Array]:
    """The rows in batches that the model takes: one by one where its batch is fixed to 1."""
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, rows[0].nbytes))) if is_dynamic(wanted) else 1
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
