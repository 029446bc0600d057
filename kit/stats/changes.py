"""Whether a series changed its level for good somewhere, judged against its own slow fluctuations.

Batch medians carry the level, so that outliers do not; the test divides by itself, so that correlation between
batches needs no estimate. Effect and significance are apart: a change that is sure may be too small to matter.
"""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.trend import Trend, trend

CRITICAL = 120.0
"""G of `level_shift` is larger in about 1 of 500 series of independent values, and in 1 of 15 that are correlated with
0.5 from batch to batch (tests/stats/test_changes.py)."""

MATTERS = 1.10
"""A level that changes by less is how devices are; bounds at effective counts are wider for it. MLPerf's audits allow
as much between two runs."""

PLAIN, APART = 1.25, 0.85
"""A change by this ratio needs no test against slow fluctuations if this share of pairs of batches, one from before and
one from after, moved with it: there it is seen at a glance."""

EPISODE_SHARE, MOST_EPISODES = 0.1, 2
"""A slower stretch has at least this share of the batches, and there are at most so many: more are a pattern."""

ORDER_ERROR, _ORDERS = 0.01, 499

BATCHES = 40
MINIMUM_BATCHES = 20
BATCH_SAMPLES = 5
MINIMUM_COUNT = MINIMUM_BATCHES * BATCH_SAMPLES
"""Fewest samples of which a change can be told from noise."""


@dataclass(frozen=True, slots=True)
class Batches:
    """A series in at most 40 equal batches, the first few samples dropped: float64 [batches] each, in order.

    level: medians; floor: tenth percentiles, which work that interrupts leaves alone; first: index of each one's start.
    """

    level: Float64Array
    floor: Float64Array
    first: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of level before batch `batch`: `ratio` of geometric means; `floor_ratio` of the tenth percentiles.

    `statistic` is G, to be held against CRITICAL; `apart`: share of pairs of batches, before and after, that moved with
    the ratio. start, end: the batches that were looked at.
    """

    batch: int
    ratio: float
    floor_ratio: float
    statistic: float
    apart: float
    start: int
    end: int

    @property
    def matters(self) -> bool:
        """Whether it is large enough, and either sure or plain."""
        size, least = max(self.ratio, 1 / self.ratio), min(self.batch - self.start, self.end - self.batch)
        plain = size >= PLAIN and self.apart >= APART and least >= (self.end - self.start) // 5
        return size >= MATTERS and (self.statistic >= CRITICAL or plain)


def batched(samples: Float64Array) -> Batches | None:
    """`samples` [n], all positive, in order, in batches; None with fewer than MINIMUM_COUNT."""
    if len(samples) < MINIMUM_COUNT:
        return None
    count = min(BATCHES, len(samples) // BATCH_SAMPLES)
    length = len(samples) // count
    skipped = len(samples) - count * length
    table = samples[skipped:].reshape(count, length)
    first = tuple(skipped + length * batch for batch in range(count))
    return Batches(np.median(table, axis=1), np.quantile(table, 0.1, axis=1), first)


def has_order(of: Batches) -> bool:
    """Whether the levels' order means anything: batches that could come in any order do so in 98 % of series or more.

    Two permutation tests of log levels at ORDER_ERROR each, whatever the distribution: the range of cumulative sums,
    large where the level changes or drifts, and the sum of squared steps (J. von Neumann, Annals of Mathematical
    Statistics 12, 1941), small where slow stretches come and go. E. L. Lehmann and J. P. Romano, Testing Statistical
    Hypotheses (2005), 15.2. The random orders are always the same.
    """
    levels = np.log(of.level)
    orders = np.random.default_rng(0).permuted(np.tile(levels, (_ORDERS, 1)), axis=1)
    for one, others in zip(_order(levels), _order(orders), strict=True):
        reached = int((others >= one - 1e-9 * abs(one)).sum())
        if (1 + reached) / (1 + _ORDERS) <= ORDER_ERROR:
            return True
    return False


def _order(levels: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Statistics of `has_order` of series [..., n], the more order the larger: [...] each."""
    sums = np.cumsum(levels - levels.mean(axis=-1, keepdims=True), axis=-1)
    steps = np.diff(levels, axis=-1)
    return np.ptp(sums, axis=-1), -(steps**2).sum(axis=-1)


def level_shift(of: Batches) -> Shift:
    """The clearest change of level in the whole series, in its first or in its last two thirds.

    G = max_k T_k^2 / V_k on log medians, T_k the cumulative sum's distance from its line, V_k the same within each side
    of k. Source: X. Shao and X. Zhang, J. American Statistical Association 105 (2010) 1228-1240, (4) to (6). Without a
    third, a change is found that does not last until the end.
    """
    count = len(of.level)
    third = count // 3
    windows = [(0, count), (0, count - third), (third, count)]
    return max((_shift(of, start, end) for start, end in windows), key=lambda shift: (shift.matters, shift.statistic))


def _shift(of: Batches, start: int, end: int) -> Shift:
    values = np.log(of.level[start:end])
    split, statistic = self_normalised(values)
    before, after = slice(start, start + split), slice(start + split, end)
    ratio, floor_ratio = (math.exp(_mean_log(each[after]) - _mean_log(each[before])) for each in (of.level, of.floor))
    moved = np.sign(of.level[after][:, None] - of.level[before])
    apart = float((moved == (1 if ratio > 1 else -1)).mean())
    return Shift(start + split, ratio, floor_ratio, statistic, apart, start, end)


def _mean_log(values: Float64Array) -> float:
    return float(np.log(values).mean())


def self_normalised(values: Float64Array) -> tuple[int, float]:
    """The k with the largest T_k^2 / V_k, both sides having at least a sixth of `values` [n >= 12], and that ratio."""
    count = len(values)
    least = max(5, count // 6)
    best, where = 0.0, least
    for split in range(least, count - least + 1):
        left, right = values[:split], values[split:]
        distance = split * (count - split) / count**1.5 * float(left.mean() - right.mean())
        spread = (_bridge(left) + _bridge(right[::-1])) / count**2
        statistic = distance**2 / spread if spread > 0 else math.inf if distance else 0.0
        if statistic > best:
            best, where = statistic, split
    return where, best


def _bridge(values: Float64Array) -> float:
    """Sum of squares of the cumulative sums of `values` about their mean."""
    return float((np.cumsum(values - values.mean()) ** 2).sum())


def level_trend(of: Batches, confidence: float) -> Trend:
    """Change of the level from the first batch to the last along a line, as a share of its median, with bounds."""
    return trend(of.level / float(np.median(of.level)), confidence)


def is_step(of: Batches, shift: Shift) -> bool:
    """Whether a step at `shift` fits the levels better than a line does, by the sum of distances."""
    level, index = np.log(of.level), np.arange(len(of.level))
    line = trend(level, 0.9).change / (len(level) - 1) * index
    straight = level - line - np.median(level - line)
    parts = np.split(level, [shift.batch])
    stepped = np.concatenate([part - np.median(part) for part in parts])
    return float(np.abs(stepped).sum()) <= float(np.abs(straight).sum())


def episodes(of: Batches) -> tuple[tuple[int, int], ...]:
    """Stretches [from, to) of batches with a level PLAIN times the median, where nearly all such batches are in them.

    Empty where there are none, or more than MOST_EPISODES: a pattern that goes on is how the series is.
    """
    slow = of.level > PLAIN * np.median(of.level)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], slow, [False]]).astype(np.int8)))
    least = max(3, round(EPISODE_SHARE * len(slow)))
    found = [(int(start), int(end)) for start, end in edges.reshape(-1, 2) if end - start >= least]
    inside = sum(end - start for start, end in found)
    return tuple(found) if found and len(found) <= MOST_EPISODES and inside >= 0.8 * slow.sum() else ()
