"""Does the ONNX model compute what its source computes? Compared row by row and output by output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Arrays
from kit.model.convert.rows import fits, transposition
from kit.model.feeds import Feeds, row_count
from kit.model.session import score_output
from kit.records import Int64Array, OutputDifference, TensorInfo

TOLERANCE = 1e-4
"""Largest difference of a probability that float32 rounding explains; larger ones are an error of conversion."""

SUMMED_TERMS = 2048
"""Products in one sum that a tolerance allows for: more than most layers of an edge model have."""

REPEATED_ROWS = 4
"""So many rows are run twice more: a source that decides by chance differs on the first of them."""

RELATIVE_FLOOR = 1e-3
"""Share of an output's largest magnitude below which a value has no relative difference: near 0 that says nothing."""

_SHOWN = 5
_EXPLAINED_ROWS = 64


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' outputs on the same rows.

    decides: the output that holds scores, None where there is none. differing_rows: rows whose decision differs, None
    without decisions. beyond_rounding: by output, the rows that differ by more than rounding explains, in a value or
    in their decision. not_finite: rows in which the source itself is not finite somewhere (and the ONNX model equally).
    """

    rows: int
    outputs: tuple[OutputDifference, ...]
    decides: str | None
    differing_rows: Int64Array | None
    beyond_rounding: Mapping[str, Int64Array]
    not_finite: Int64Array

    @property
    def bad_rows(self) -> Int64Array:
        """Rows in which any output differs by more than rounding."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.beyond_rounding.values()]))

    @property
    def largest(self) -> OutputDifference:
        """The output that decides; without one, the output with the largest difference."""
        chosen = [each for each in self.outputs if each.output == self.decides]
        return max(chosen or self.outputs, key=lambda each: each.max_abs_difference)


def tolerance_of(source: NDArray[Any], other: NDArray[Any]) -> float:
    """Largest absolute difference of an output's values that rounding explains.

    Integers and truth values: none. Probabilities (all from 0 to 1, and rows that sum to 1 or one value a row): 1e-4.
    Other floats: the output's largest magnitude times n u, the bound on a sum of n products' rounding (Higham,
    Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1), with u of float32 and n = `SUMMED_TERMS`; in
    float16, where that bound says nothing, sqrt(n) u, which errors of random sign stay near (ibid., 2.6).
    """
    if source.dtype.kind in "biu" and other.dtype.kind in "biu":
        return 0.0
    share: float
    if "float16" in (source.dtype.name, other.dtype.name):
        share = SUMMED_TERMS**0.5 * float(np.finfo(np.float16).eps) / 2
    else:
        share = SUMMED_TERMS * float(np.finfo(np.float32).eps) / 2
        if _are_probabilities(source):
            return TOLERANCE
    finite = np.abs(source[np.isfinite(source)].astype(np.float64))
    scale = float(finite.max(initial=0.0))
    return max(share * scale, float(np.finfo(np.float32).eps))


def _are_probabilities(values: NDArray[Any]) -> bool:
    if values.ndim != 2 or not values.size or not (values.min() >= 0 and values.max() <= 1):
        return False
    return values.shape[1] == 1 or bool((np.abs(values.sum(axis=1) - 1) < 1e-3).all())


def compare(
    source: Arrays, other: Arrays, *, decides: str | None = None, tolerances: Mapping[str, float] | None = None
) -> Comparison:
    """Compare outputs by name, each [rows, *shape]; a decision is the first class with the largest score.

    A differing decision is rounding where the source's two largest scores are at most the tolerance apart. Values
    that are not finite must be the same in both.

    Raises:
        ConversionError: an output is missing or of another shape, or nothing in it is finite.
    """
    rows = row_count(source)
    beyond: dict[str, Int64Array] = {}
    outputs, not_finite = [], np.zeros(rows, bool)
    differing = None
    for name, values in source.items():
        ours = _checked(name, values, other)
        tolerance = (tolerances or {}).get(name, tolerance_of(values, ours))
        difference, same = _differences(values, ours)
        outputs.append(_summary(name, values, difference))
        not_finite |= ~_by_row(np.isfinite(values)).all(axis=1)
        bad = (_by_row(difference).max(axis=1, initial=0.0) > tolerance) | ~_by_row(same).all(axis=1)
        if name == decides:
            differs = values.argmax(axis=1) != ours.argmax(axis=1)
            differing = np.flatnonzero(differs)
            bad |= differs & (_margins(values) > tolerance)
        beyond[name] = np.flatnonzero(bad)
    return Comparison(rows, tuple(outputs), decides, differing, beyond, np.flatnonzero(not_finite))


def _checked(name: str, values: NDArray[Any], other: Arrays) -> NDArray[Any]:
    """The other model's output of that name, of the same shape and comparable."""
    if name not in other:
        raise ConversionError(
            f"the ONNX model has no output {name!r}; its outputs are {', '.join(other)}",
            next_step="check which outputs the converter kept",
        )
    ours = other[name]
    if values.shape != ours.shape:
        raise ConversionError(
            f"for {len(values)} rows the source gives {name!r} of shape {list(values.shape)}, "
            f"the ONNX model {list(ours.shape)}{_transposed_output(values, ours)}",
            next_step="check which output is meant, and the layout that the converter chose",
        )
    if not np.isfinite(values).any():
        raise ConversionError(
            f"the source gives no finite value of {name!r} on these rows, so nothing can be compared",
            next_step="look for missing or infinite inputs; give rows on which this model was trained",
        )
    return ours


def _transposed_output(values: NDArray[Any], ours: NDArray[Any]) -> str:
    order = transposition(ours.shape[1:], values.shape[1:])
    if not order:
        return ""
    axes = (0, *(axis + 1 for axis in order))
    equal = np.allclose(ours.transpose(axes), values, atol=tolerance_of(values, ours), rtol=0, equal_nan=True)
    told = f": the same sizes in another order (layout), and .transpose{axes} of it "
    return told + ("is what the source gives" if equal else "is still something else")


def _by_row(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), -1)


def _differences(values: NDArray[Any], ours: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences where both are finite (0 elsewhere), and where non-finite values are the same."""
    left, right = values.astype(np.float64), ours.astype(np.float64)
    both = np.isfinite(left) & np.isfinite(right)
    same = both | (left == right) | (np.isnan(left) & np.isnan(right))
    difference = np.zeros(left.shape)
    difference[both] = np.abs(left[both] - right[both])
    return difference, np.asarray(same)


def _summary(name: str, values: NDArray[Any], difference: NDArray[np.float64]) -> OutputDifference:
    magnitude = np.abs(np.where(np.isfinite(values), values, 0).astype(np.float64))
    counted = magnitude >= max(RELATIVE_FLOOR * magnitude.max(initial=0.0), float(np.finfo(np.float32).tiny))
    relative = difference[counted] / magnitude[counted]
    return OutputDifference(
        name, float(difference.max(initial=0.0)), float(relative.max(initial=0.0)), float(difference.mean())
    )


def _margins(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Largest less second largest score of each row; infinite with a single class."""
    if scores.shape[1] < 2:
        return np.full(len(scores), np.inf)
    top = np.sort(scores.astype(np.float64), axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def refuse_untrue_shapes(stated: tuple[TensorInfo, ...], outputs: Arrays, where: str) -> None:
    """Raise ModelError if an output [rows, *shape] has other sizes than the model states of it."""
    for each in stated:
        got = outputs[each.name].shape[1:]
        if not each.shape or fits(got, each.shape[1:]) or fits(got, each.shape):
            continue
        sizes = zip(each.shape[1:], got, strict=False)
        differ = next((f"{w} values, and gives {g}" for w, g in sizes if isinstance(w, int) and w != g), "another rank")
        raise ModelError(
            f"its output {each.name!r} states {differ}: {list(each.shape[1:])} a row, which is {list(got)}",
            where=where,
            next_step="export the model again: what it says of itself is not true",
        )


def refuse_chance(once: Arrays, again: Arrays, tolerances: Mapping[str, float], where: str) -> None:
    """Raise ConversionError if the source's outputs of the same rows differ from run to run by more than rounding."""
    finite = {name: values for name, values in once.items() if np.isfinite(values).any()}
    found = compare(finite, again, tolerances=tolerances) if finite else None
    if found is not None and len(found.bad_rows):
        worst = max(found.outputs, key=lambda each: len(found.beyond_rounding[each.output]))
        raise ConversionError(
            f"the source decides by chance: the same rows, run again, give another {worst.output!r} "
            f"(up to {worst.max_abs_difference:.3g} apart)",
            where=where,
            next_step="export it for inference: without dropout, random operators and state",
        )


def deciding_output(outputs: tuple[TensorInfo, ...], wanted: str | None) -> str | None:
    """The output that holds the scores of at least two classes; None where none does, or several could.

    Raises:
        ModelError: there is no output of the name `wanted`.
    """
    try:
        name = score_output(outputs, wanted)
    except ModelError:
        if wanted is not None:
            raise
        return None
    (info,) = (each for each in outputs if each.name == name)
    return name if len(info.shape) == 2 and info.dtype.startswith("float") and info.shape[1] != 1 else None


def likely_cause(
    predict: Callable[[Feeds], Arrays],
    feeds: Feeds,
    other: Arrays,
    tolerances: Mapping[str, float] | None = None,
) -> str:
    """Name the change of the inputs under which the source would give the ONNX model's outputs; empty if none does.

    It is looked for on the first rows only, and in each input by itself.
    """
    few = {name: array[:_EXPLAINED_ROWS] for name, array in feeds.items()}
    wanted = {name: array[:_EXPLAINED_ROWS] for name, array in other.items()}
    for name, change in _CHANGES.items():
        for each in feeds:
            try:
                changed = change(few[each])
                if changed is None or np.array_equal(changed, few[each]):
                    continue
                if not len(compare(predict({**few, each: changed}), wanted, tolerances=tolerances).bad_rows):
                    of = f" of {each!r}" if len(feeds) > 1 else ""
                    return f"the ONNX model computes what its source gives on {name}{of}"
            except Exception:  # noqa: S112 - a guess that does not run is no explanation, whatever the model raised
                continue
    return ""


def _transposed(inputs: NDArray[Any], *axes: int) -> NDArray[Any] | None:
    if inputs.ndim != len(axes) or not inputs.size:
        return None
    return np.ascontiguousarray(inputs.transpose(axes).reshape(inputs.shape))


def _reread(inputs: NDArray[Any], *, last: bool) -> NDArray[Any] | None:
    """Images whose bytes are read in the other layout, and then transposed."""
    if inputs.ndim != 4:
        return None
    rows, one, two, three = inputs.shape
    if last:
        return np.ascontiguousarray(inputs.reshape(rows, two, three, one).transpose(0, 3, 1, 2))
    return np.ascontiguousarray(inputs.reshape(rows, three, one, two).transpose(0, 2, 3, 1))


_CHANGES: dict[str, Callable[[NDArray[Any]], NDArray[Any] | None]] = {
    "inputs divided by 255 (scaling)": lambda x: (x / np.float32(255)).astype(x.dtype),
    "inputs multiplied by 255 (scaling)": lambda x: (x * np.float32(255)).astype(x.dtype),
    "inputs mapped from 0..1 to -1..1 (scaling)": lambda x: (x * 2 - 1).astype(x.dtype),
    "standardized inputs (scaling done twice, or not at all)": lambda x: (
        (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    ).astype(x.dtype),
    "inputs in reversed order (channel order)": lambda x: np.ascontiguousarray(x[..., ::-1]),
    "inputs with the channels of images in reversed order (channel order)": lambda x: (
        np.ascontiguousarray(x[:, ::-1]) if x.ndim == 4 else None
    ),
    "inputs rounded to integers (dtype)": lambda x: np.rint(x).astype(x.dtype),
    "inputs cut to integers (dtype)": lambda x: np.trunc(x).astype(x.dtype),
    "inputs with channels last (layout)": lambda x: _transposed(x, 0, 2, 3, 1),
    "inputs with channels first (layout)": lambda x: _transposed(x, 0, 3, 1, 2),
    "inputs reshaped where they should be transposed, as if channels were last (layout)": lambda x: _reread(
        x, last=True
    ),
    "inputs reshaped where they should be transposed, as if channels were first (layout)": lambda x: _reread(
        x, last=False
    ),
    "inputs with height and width exchanged (layout)": lambda x: _transposed(x, 0, 1, 3, 2),
}
"""Ways in which preprocessing usually goes wrong, each as a change of the inputs."""


def refuse_if_different(
    comparison: Comparison, source: Arrays, other: Arrays, cause: Callable[[], str], where: str
) -> None:
    """Raise ConversionError, with the first rows and the likely cause, if rounding does not explain the differences."""
    bad = comparison.bad_rows
    if not len(bad):
        return
    worst = max(comparison.outputs, key=lambda each: len(comparison.beyond_rounding[each.output]))
    rows = comparison.beyond_rounding[worst.output][:_SHOWN]
    decided = worst.output == comparison.decides
    shown = "; ".join(_shown(int(row), source[worst.output], other[worst.output], decided) for row in rows)
    in_decision = "" if comparison.differing_rows is None else f", {len(comparison.differing_rows)} in their decision"
    why = cause()
    raise ConversionError(
        f"the ONNX model does not compute what its source does: {len(bad)} of {comparison.rows} rows differ by more "
        f"than rounding{in_decision} (largest difference of {worst.output!r}: {worst.max_abs_difference:.3g}). {shown}"
        + (f". {why[0].upper()}{why[1:]}" if why else ""),
        where=where,
        next_step="fix the preprocessing named above" if why else "check the converter's support for this model",
    )


def _shown(row: int, source: NDArray[Any], other: NDArray[Any], decided: bool) -> str:
    before, after = source[row], other[row]
    if decided:
        return f"row {row}: class {before.argmax()} at {before.max():.4f}, now {after.argmax()} at {after.max():.4f}"
    place = int(np.argmax(np.abs(np.nan_to_num(before.astype(np.float64) - after.astype(np.float64), nan=np.inf))))
    return f"row {row}: {before.reshape(-1)[place]:.6g}, now {after.reshape(-1)[place]:.6g}"
