"""Does the ONNX model compute what its source computes? Compared row by row, on every given row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError
from kit.records import Int64Array

TOLERANCE = 1e-4
"""Largest difference of a probability that float32 rounding explains; larger ones are an error of conversion."""

Scores = NDArray[np.floating[Any]]
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' scores on the same rows.

    differing_rows: rows whose decision differs; beyond_rounding: rows where that, or a score, differs by
    more than rounding explains.
    """

    rows: int
    max_abs_difference: float
    max_rel_difference: float
    differing_rows: Int64Array
    beyond_rounding: Int64Array


def compare(source: Scores, other: Scores, tolerance: float = TOLERANCE) -> Comparison:
    """Compare scores [rows, classes]; a decision is the first class with the largest score.

    A differing decision is rounding where the source's two largest scores are at most `tolerance` apart.

    Raises:
        ConversionError: the two differ in shape, or hold values that are not finite.
    """
    if source.shape != other.shape or source.ndim != 2:
        raise ConversionError(
            f"the source gives scores of shape {list(source.shape)}, the ONNX model {list(other.shape)}",
            next_step="check which output holds the scores, and how many classes there are",
        )
    if not (np.isfinite(source).all() and np.isfinite(other).all()):
        raise ConversionError("scores that are not finite", next_step="look for missing or infinite inputs")
    difference = np.abs(source.astype(np.float64) - other)
    scale = np.maximum(np.abs(source.astype(np.float64)), np.finfo(np.float32).tiny)
    differs = source.argmax(axis=1) != other.argmax(axis=1)
    beyond = (difference.max(axis=1) > tolerance) | (differs & (_margins(source) > tolerance))
    return Comparison(
        len(source),
        float(difference.max()),
        float((difference / scale).max()),
        np.flatnonzero(differs),
        np.flatnonzero(beyond),
    )


def _margins(scores: Scores) -> NDArray[np.float64]:
    """Largest less second largest score of each row; infinite with a single class."""
    if scores.shape[1] < 2:
        return np.full(len(scores), np.inf)
    top = np.sort(scores.astype(np.float64), axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def likely_cause(predict: Callable[[NDArray[Any]], Scores], inputs: NDArray[Any], other: Scores) -> str:
    """Name the change of the inputs under which the source would give the ONNX model's scores; empty if none does."""
    for name, change in _CHANGES.items():
        try:
            changed = change(inputs)
            if changed is not None and not len(compare(predict(changed), other).beyond_rounding):
                return f"the ONNX model computes what its source gives on {name}"
        except Exception:  # noqa: S112 - a guess that does not run is no explanation, whatever the model raised
            continue
    return ""


def _transposed(inputs: NDArray[Any], *axes: int) -> NDArray[Any] | None:
    if inputs.ndim != len(axes) or not inputs.size:
        return None
    return np.ascontiguousarray(inputs.transpose(axes).reshape(inputs.shape))


_CHANGES: dict[str, Callable[[NDArray[Any]], NDArray[Any] | None]] = {
    "inputs divided by 255 (scaling)": lambda x: (x / np.float32(255)).astype(x.dtype),
    "inputs multiplied by 255 (scaling)": lambda x: (x * np.float32(255)).astype(x.dtype),
    "inputs mapped from 0..1 to -1..1 (scaling)": lambda x: (x * 2 - 1).astype(x.dtype),
    "standardized inputs (scaling done twice, or not at all)": lambda x: (
        (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    ).astype(x.dtype),
    "inputs in reversed order (channel order)": lambda x: np.ascontiguousarray(x[..., ::-1]),
    "inputs rounded to integers (dtype)": lambda x: np.rint(x).astype(x.dtype),
    "inputs cut to integers (dtype)": lambda x: np.trunc(x).astype(x.dtype),
    "inputs with channels last (layout)": lambda x: _transposed(x, 0, 2, 3, 1),
    "inputs with channels first (layout)": lambda x: _transposed(x, 0, 3, 1, 2),
}
"""Ways in which preprocessing usually goes wrong, each as a change of the inputs."""


def refuse_if_different(
    comparison: Comparison, source: Scores, other: Scores, cause: Callable[[], str], where: str
) -> None:
    """Raise ConversionError, with the first rows and the likely cause, if rounding does not explain the differences."""
    bad = comparison.beyond_rounding
    if not len(bad):
        return
    shown = "; ".join(
        f"row {row}: class {source[row].argmax()} at {source[row].max():.4f}, "
        f"now {other[row].argmax()} at {other[row].max():.4f}"
        for row in bad[:_SHOWN]
    )
    why = cause()
    raise ConversionError(
        f"the ONNX model does not compute what its source does: {len(bad)} of {comparison.rows} rows differ by more "
        f"than rounding, {len(comparison.differing_rows)} in their decision (largest difference "
        f"{comparison.max_abs_difference:.3g}). {shown}" + (f". {why[0].upper()}{why[1:]}" if why else ""),
        where=where,
        next_step="fix the preprocessing named above" if why else "check the converter's support for this model",
    )
