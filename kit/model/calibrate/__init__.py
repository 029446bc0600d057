"""Ranges of a model's tensors from typical rows, in one pass and in memory that does not grow with them."""

from kit.model.calibrate.base import Method, Ranges

__all__ = ["Method", "Ranges"]
