"""Tasks and measures: from targets and predictions to what each row loses, and to a figure with its influence. Pure."""

from kit.task.base import Losses, Measure, Rows, UndefinedError, ratio_of_sums, rows_of, worsening
from kit.task.registry import MEASURES_BY_NAME

__all__ = [
    "MEASURES_BY_NAME",
    "Losses",
    "Measure",
    "Rows",
    "UndefinedError",
    "ratio_of_sums",
    "rows_of",
    "worsening",
]
