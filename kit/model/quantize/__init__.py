"""Make variants of a reference, each with its lineage inside the file and in its record."""

from kit.model.quantize.prepare import prepare
from kit.model.quantize.variant import MAX_CALIBRATION_ROWS, Variant, VariantMaker, make_variant, method_of

__all__ = ["MAX_CALIBRATION_ROWS", "Variant", "VariantMaker", "make_variant", "method_of", "prepare"]
