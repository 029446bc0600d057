"""Numbers cut into bins of about equally many rows, so that they can be sliced like names."""

from itertools import pairwise

import numpy as np

from kit.records import ColumnRecord, Float64Array

DEFAULT_BINS = 4
"""Quartiles: fewer hide where it hurts, more leave slices too small to judge."""

MISSING = "missing"


def quantile_bins(values: Float64Array, bins: int = DEFAULT_BINS) -> ColumnRecord:
    """Numbers float64 [rows] as a column of at most `bins` bins and one for NaN, each named by its ends.

    Edges are quantiles (R. Hyndman and Y. Fan, American Statistician 50, 1996, definition 1: values that occur). A bin
    is closed at its upper end; edges that coincide are one, so equal numbers always share a bin.
    """
    known = ~np.isnan(values)
    if not known.any():
        return ColumnRecord((MISSING,), np.zeros(len(values), dtype=np.int64))
    probabilities = np.arange(1, bins + 1) / bins
    edges = np.unique(np.quantile(values[known], probabilities, method="inverted_cdf"))
    codes = np.where(known, np.searchsorted(edges, values), len(edges)).astype(np.int64)
    names = _names(edges) + ((MISSING,) if not known.all() else ())
    return ColumnRecord(names, codes)


def _names(edges: Float64Array) -> tuple[str, ...]:
    """The first "at most 3", the last "above 8", between them "above 3 to 8"; a single bin is "at most 8"."""
    texts = _distinct(edges)
    between = [f"above {low} to {high}" for low, high in pairwise(texts[:-1])]
    last = [f"above {texts[-2]}"] if len(texts) > 1 else []
    return (f"at most {texts[0]}", *between, *last)


def _distinct(edges: Float64Array) -> list[str]:
    """The edges in as few significant digits as still tell them apart."""
    for digits in range(3, 17):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(texts):
            return texts
    return [repr(float(edge)) for edge in edges]
