"""The numbers that a board prints, and the inputs that it takes: their quirks, and what is impossible."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.device.mlperf.grammar import DamagedError
from kit.errors import DeviceError
from kit.records import Float32Array
from kit.spec.types import BoardSpec

_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,12})?(?:e[-+]?\d{1,3})?")
_ROUNDING = 0.5 / 256 + 0.5e-3  # of one score: an 8-bit softmax, printed with 3 decimals


def scores(text: str, board: BoardSpec) -> list[float]:
    """The results of one inference, as printed, in the board's order. Raises DamagedError.

    One trailing comma is dropped. 1.0 that was printed as ``0.1000`` is told by its one decimal more than all others
    and put right. Probabilities are each within [0, 1] and sum to 1 as far as an 8-bit output can.
    """
    words = text.removesuffix(",").split(",")
    if any(_NUMBER.fullmatch(word) is None for word in words):
        raise DamagedError(f"results read {text[:100]!r}")
    values = [1.0 if _is_one(word, words) else float(word) for word in words]
    if board.output_kind == "probabilities" and not _are_probabilities(values):
        raise DamagedError(f"results are no probabilities: {text[:100]!r}")
    return values


def _is_one(word: str, words: Sequence[str]) -> bool:
    """Whether `word` is 1.0 in the print of a firmware that shows thousandths behind ``0.`` without a carry."""
    decimals = [len(each.partition(".")[2]) for each in words if each is not word]
    return bool(decimals) and len(set(decimals)) == 1 and word == f"0.1{'0' * decimals[0]}"


def _are_probabilities(values: Sequence[float]) -> bool:
    error = abs(sum(values) - 1.0)
    return all(0.0 <= value <= 1.0 for value in values) and error <= 1e-3 + len(values) * _ROUNDING


def in_order(scores: Float32Array, printed: Sequence[str], classes: Sequence[str], where: str = "") -> Float32Array:
    """Scores [rows, classes] as printed, with the columns in the order of the dataset's `classes`.

    `printed` names the board's columns; empty means the same order. Raises DeviceError if they are not the same names.
    """
    if not printed:
        return scores
    if sorted(printed) != sorted(classes):
        raise DeviceError(
            f"output_order names {len(printed)} classes that are not the dataset's {len(classes)}",
            where=where,
            next_step=f"list in [board] output_order, in the board's order: {', '.join(classes[:12])}",
        )
    return scores[:, [list(printed).index(name) for name in classes]]


def encode(row: NDArray[np.generic], board: BoardSpec) -> bytes:
    """One input as the board takes it: round(x / scale) + zero point, ties away from zero, saturated.

    That is TensorFlow Lite's affine quantization (B. Jacob and others, CVPR 2018); float32 is sent little-endian.
    Raises DeviceError for a value that is not finite.
    """
    values = np.asarray(row, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise DeviceError("an input is not finite", next_step="check the dataset")
    if board.input_dtype == "float32":
        return values.astype("<f4").tobytes()
    steps = values / board.input_scale
    rounded = np.trunc(steps + np.copysign(0.5, steps)) + board.input_zero_point
    limits = np.iinfo(board.input_dtype)
    return bytes(np.clip(rounded, limits.min, limits.max).astype(board.input_dtype).tobytes())
