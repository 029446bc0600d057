"""accuracy.drop, accuracy.value and agreement.flips of runs that stop as soon as they are decided, at the limit.

Rows come one by one and are looked at as a real run looks; the verdict is the first that any look gives.
"""

from collections.abc import Iterator

import numpy as np

from kit.records import Float64Array, Int64Array, Verdict
from kit.stats.betting import log_capital, trail_of
from kit.stats.orders import looks
from kit.stats.proportions import PairedCounts, Successes, paired_score, proportion_score
from kit.stats.sequential import ON_THE_WAY, Sequential
from kit.stats.special import student_t_quantile
from tests.proofs.certifications.rows import chunked
from tests.proofs.certifications.scenario import ALPHA, BoolArray, Certified, Rng, Scenario

VERDICTS = {-1: Verdict.PASS, 0: Verdict.INCONCLUSIVE, 1: Verdict.FAIL}
"""Of what should be at most the limit."""


def seen(rows: int) -> Int64Array:
    """Rows at each look, of a run that is never decided before its end."""
    return np.array(looks(rows, last=True), dtype=np.int64)


def cumulative(shares: list[float], at: Int64Array, runs: int, rng: Rng) -> Int64Array:
    """Counts of each outcome at every look, int64 [runs, looks, outcomes]."""
    new = np.diff(at, prepend=0)
    return np.cumsum(rng.multinomial(new, shares, (runs, len(at))), axis=1)


def ever(lost: Int64Array, won: Int64Array, at: Int64Array, bound: float, most: float) -> BoolArray:
    """Whether the bets against `bound` ever reach what the way may cost, bool [runs]."""
    loses, wins, rows = (np.asarray(each, np.float64) for each in (lost, won, np.broadcast_to(at, lost.shape)))
    capital = log_capital(loses, wins, rows, bound, most)
    return np.asarray((capital >= np.log(1 / (ON_THE_WAY * ALPHA))).any(axis=1))


def decided(end: Float64Array, rows: int, below: BoolArray, above: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Whether the figure is below the limit, and whether above: by the test at the end, or else on the way."""
    critical = student_t_quantile(1 - (1 - ON_THE_WAY) * ALPHA, rows - 1.0)
    is_below = (end <= -critical) | (below & (end <= critical))
    return is_below, ~is_below & ((end > critical) | above)


def side_of(each: list[PairedCounts] | list[Successes], limit: float) -> int:
    """What the figure's own comparison says after all looks: 1 above the limit, -1 below, 0 neither."""
    last = each[-1]
    least = -1.0 if isinstance(last, PairedCounts) else 0.0
    of = Sequential(
        estimate=last.estimate,
        least=least,
        trail=trail_of(each, exact=True),
        twin=None,
        audit=None,
        end=last,
        sign=1,
        rows=last.rows,
    )
    return of.side(limit, 1 - ALPHA)


def drop(rows: int, margin: float, back: float) -> Scenario:
    """The drop is the margin; `back` of all rows turn right."""
    at = seen(rows)

    def certify(runs: int, rng: Rng) -> Certified:
        counts = cumulative([margin + back, back, 1 - margin - 2 * back], at, runs, rng)
        lost, won = counts[..., 0], counts[..., 1]
        end = paired_score(lost[:, -1], won[:, -1], rows, margin)
        passed, failed = decided(end, rows, ever(lost, won, at, margin, 1.0), ever(won, lost, at, -margin, 1.0))

        def again(index: int) -> Verdict:
            each = [PairedCounts(lost[index, k], won[index, k], at[k], at[k] - 1.0) for k in range(len(at))]
            return VERDICTS[side_of(each, margin)]

        return Certified(passed, failed, again)

    words = f"stopping early, of {rows} rows, {100 * margin:.4g} points, {100 * back:g} % back"
    return Scenario("accuracy.drop", words, chunked(certify, 40 * len(at)))


def share(rows: int, limit: float, *, at_least: bool) -> Scenario:
    """The share of rows that flip is the most, or of rows that are right the least, that is allowed."""
    at = seen(rows)

    def certify(runs: int, rng: Rng) -> Certified:
        hits = cumulative([limit, 1 - limit], at, runs, rng)[..., 0]
        none = np.zeros_like(hits)
        end = proportion_score(hits[:, -1], rows, limit)
        below, above = decided(end, rows, ever(hits, none, at, limit, 1.0), ever(none, hits, at, -limit, 0.0))

        def again(index: int) -> Verdict:
            each = [Successes(hits[index, k], at[k], at[k] - 1.0) for k in range(len(at))]
            return VERDICTS[-side_of(each, limit) if at_least else side_of(each, limit)]

        return Certified(above, below, again) if at_least else Certified(below, above, again)

    kind = "accuracy.value" if at_least else "agreement.flips"
    return Scenario(kind, f"stopping early, of {rows} rows, {100 * limit:g} %", chunked(certify, 40 * len(at)))


def scenarios() -> Iterator[Scenario]:
    """Every one."""
    for rows, margin, back in ((300, 0.05, 0.01), (2000, 0.02, 0.0), (2000, 0.01, 0.03), (10_000, 0.01, 0.005)):
        yield drop(rows, margin, back)
    for rows, limit in ((300, 0.05), (2000, 0.01), (10_000, 0.02)):
        yield share(rows, limit, at_least=False)
        yield share(rows, 1 - limit, at_least=True)
