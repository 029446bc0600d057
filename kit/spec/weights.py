"""Weights of rows that can be reckoned with."""

from kit.records import Float64Array

WEIGHTS_WITHIN = 1e-100, 1e100
"""Weights that can be squared and summed over any rows without overflow or underflow."""

MOST_WEIGHT_RATIO = 1e6
"""Largest weight of a row, in units of the smallest."""


def weight_fault(values: Float64Array) -> str:
    """What keeps weights [rows], all finite and above 0, from being reckoned with; empty if nothing does.

    Beside a weight MOST_WEIGHT_RATIO times its own a row says nothing, and squares of weights must not overflow.
    """
    least, most = float(values.min()), float(values.max())
    low, high = WEIGHTS_WITHIN
    if not low <= least <= most <= high:
        return f"weights from {least:g} to {most:g}; they are within {low:g} and {high:g}"
    if most > MOST_WEIGHT_RATIO * least:
        return f"a weight of {most:g}, and one of {least:g}; the largest is at most {MOST_WEIGHT_RATIO:g} times that"
    return ""
