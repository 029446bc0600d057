"""How far a loss is from what may be lost: the one measure that judging, searching and showing share."""

from kit.records import SearchGap

SAMPLED = ("points", "share")
"""Units of what is estimated from rows; bytes and seconds are what they are."""


def is_met(gap: SearchGap) -> bool:
    """Whether the estimate is within the limit."""
    return gap.loss <= gap.allowed


def excess(gap: SearchGap) -> float:
    """By how much of what is allowed a gap is beyond it (negative: within); 1 means twice as much.

    Where nothing is allowed, a point (or one unit) stands for it.
    """
    return (gap.loss - gap.allowed) / (abs(gap.allowed) or (0.01 if gap.unit in SAMPLED else 1.0))
