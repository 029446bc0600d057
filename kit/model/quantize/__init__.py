"""Make variants of a reference, each with its lineage inside the file and in its record."""

from kit.model.quantize.prepare import prepare
from kit.model.quantize.target import host_and_device_differ
from kit.model.quantize.variant import INT8, MAX_CALIBRATION_ROWS, Variant, VariantMaker, make_variant, method_of

__all__ = [
    "INT8",
    "MAX_CALIBRATION_ROWS",
    "Variant",
    "VariantMaker",
    "host_and_device_differ",
    "make_variant",
    "method_of",
    "prepare",
]
