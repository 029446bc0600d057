"""How much a series rises or falls over its length, by a line that a few wild values do not bend."""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.special import normal_quantile

_MOST_BATCHES = 24


@dataclass(frozen=True, slots=True)
class Trend:
    """Change from the first value to the last along the line, and one-sided bounds of it, in the values' unit."""

    change: float
    lower: float
    upper: float


def trend(values: Float64Array, confidence: float) -> Trend:
    """The Theil-Sen line through `values` [n >= 6], in order and evenly spaced, with bounds each at `confidence`.

    Source: P. K. Sen, Journal of the American Statistical Association 63 (1968), section 4, by the normal
    approximation of Kendall's statistic. Values are first averaged in at most 24 batches, so that what lasts a few of
    them does not count as many times; the few that no batch has room for are the first.
    """
    length = -(-len(values) // _MOST_BATCHES)
    count = len(values) // length
    means = values[len(values) - count * length :].reshape(count, length).mean(axis=1)
    first, last = np.triu_indices(count, 1)
    slopes = np.sort((means[last] - means[first]) / (last - first))
    spread = normal_quantile(confidence) * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    rank = max(1, math.floor((len(slopes) - spread) / 2))
    span = (len(values) - 1) / length
    return Trend(span * float(np.median(slopes)), span * float(slopes[rank - 1]), span * float(slopes[-rank]))
