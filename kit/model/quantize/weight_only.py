"""Weights alone."""

from kit.errors import ConversionError
from kit.model.calibrate.base import Ranges
from kit.model.quantize.base import Prepared, Quantized
from kit.records import Recipe


def make_weight_only(prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
    """Not made yet."""
    del kept, ranges
    raise ConversionError(f"recipe {recipe.name!r} is not made yet", where=prepared.where)
