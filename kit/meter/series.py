"""Texts that a meter's files held, as numbers over time, and where they stopped."""

import re

import numpy as np
from numpy.typing import NDArray

from kit.files import FileSamples
from kit.records import Float64Array, Int64Array

GAP_PERIODS, GAP_NS = 10, 100_000_000
"""Without a reading for more than so many times the usual, and so long, nobody knows what was drawn: it is a gap."""

GONE_READINGS = 3
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


def numbers(samples: FileSamples, column: int, scale: float = 1.0) -> Float64Array:
    """float64 [n]: the whole numbers of one file, times `scale`; NaN where there was none."""
    return np.array([whole(row[column]) for row in samples.texts], np.float64) * scale


def whole(text: str | None) -> float:
    """A whole number; NaN for any other text, and for none."""
    return float(text) if text is not None and _WHOLE.fullmatch(text) else np.nan


def breaks_of(t_ns: Int64Array) -> NDArray[np.bool_]:
    """bool [n - 1]: which of the distances between readings are gaps."""
    step_ns = np.diff(t_ns)
    if not len(step_ns):
        return np.zeros(0, np.bool_)
    return step_ns > max(GAP_NS, GAP_PERIODS * float(np.median(step_ns)))


def gaps_at(t_ns: Int64Array, is_broken: NDArray[np.bool_], end_ns: int | None = None) -> Int64Array:
    """int64 [gaps, 2]: the broken distances between `t_ns`, and one from the last to `end_ns` if that is stated."""
    rows = [(start, end) for start, end, broken in zip(t_ns[:-1], t_ns[1:], is_broken, strict=True) if broken]
    if end_ns is not None and end_ns > t_ns[-1]:
        rows.append((t_ns[-1], end_ns))
    return np.array(rows, np.int64).reshape(-1, 2)


def why_ended(is_read: NDArray[np.bool_]) -> str:
    """Why a source whose last readings failed has ended; "" if it has not."""
    if is_read[-GONE_READINGS:].any():
        return ""
    return "its files could not be read any more: the device, its driver or its permission went away"
