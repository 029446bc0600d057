"""Ranges through a model: every corner of the box that they span, in one vectorised evaluation.

Where a figure rises or falls with each input by itself, as a life does, its least and greatest values lie at corners,
so that the range found is exact; the ratio of two lives need not (`bounds`). An input has one value a corner, so that
no dependency is lost, as it is in interval arithmetic (R. E. Moore, Methods and Applications of Interval Analysis,
1979). No probability is meant: a corner where all is worst at once is rare.
"""

import itertools
from collections.abc import Mapping

import numpy as np

from kit.records import Float64Array
from kit.spec.types import Range

CORNER_INPUT_LIMIT = 12
"""4,096 corners: more inputs than any battery here has."""


def corners(inputs: Mapping[str, Range]) -> dict[str, Float64Array]:
    """Each input as float64 [1 + corners]: first all of them at their likely value, then every corner."""
    wide = [name for name, each in inputs.items() if not each.is_exact]
    assert len(wide) <= CORNER_INPUT_LIMIT
    ends = itertools.product(*((inputs[name].low, inputs[name].high) for name in wide))
    box = np.array(list(ends), dtype=np.float64).reshape(2 ** len(wide), len(wide))
    columns = {name: np.r_[inputs[name].likely, box[:, index]] for index, name in enumerate(wide)}
    rows = len(box) + 1
    return {name: columns.get(name, np.full(rows, each.likely)) for name, each in inputs.items()}


def over_corners(values: Float64Array) -> Range:
    """The range of a figure evaluated as `corners` lays out its inputs, float64 [1 + corners]."""
    likely = float(values[0])
    return Range(min(likely, float(values.min())), likely, max(likely, float(values.max())))
