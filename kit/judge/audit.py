"""Whether an audit shows that what was timed is what was scored: equal outputs, and nothing remembered."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.records import AuditRecord, Float64Array, Int64Array
from kit.stats.means import batch_mean_bounds

TOLERANCE_SHARE, TOLERANCE = 1e-4, 1e-6
"""Scores may differ by so much of the row's largest, and by so much: float32 sums in another order."""

FASTER_LIMIT = 0.1
"""Most that one row again and again may be faster than rows in turn (MLPerf Inference, compliance TEST04)."""

CONFIDENCE = 0.99
"""Of each bound over all looks at an audit: look k = 1, 2, ... has an error of (1 - CONFIDENCE) / 2^k. Together that is
less than 1 - CONFIDENCE, so that taking more rounds while nothing is decided errs no more often."""

FIRST_ROUNDS = 16


@dataclass(frozen=True, slots=True)
class AuditJudgement:
    """passed: outputs are equal and nothing is remembered; failed: one of these is refuted; else undecided.

    rows_compared, rows_different: of the outputs. largest_difference: of two scores, in their unit; None where none
    were compared. faster_share: by how much of its time one row again and again is faster (below 0: slower), and its
    one-sided bounds, each at 99 % however often it was looked at; None where there are too few samples.
    """

    state: Literal["passed", "failed", "undecided"]
    reasons: tuple[str, ...]
    rows_compared: int
    rows_different: int
    largest_difference: float | None
    faster_share: float | None
    faster_lower: float | None
    faster_upper: float | None


def judge_audit(record: AuditRecord) -> AuditJudgement:
    """Judge an audit. Scores that are NaN in both are equal."""
    different, largest, output_reason = _outputs(record)
    estimate, lower, upper = faster_share(record.varied_ns, record.repeated_ns, record.rounds)
    is_remembered = lower is not None and lower > FASTER_LIMIT
    is_decided = len(record.rows) > 0 and upper is not None and upper <= FASTER_LIMIT
    is_failed = different > 0 or is_remembered
    return AuditJudgement(
        state="failed" if is_failed else "passed" if is_decided else "undecided",
        reasons=(output_reason, _speed_reason(estimate, lower, upper)),
        rows_compared=len(record.rows),
        rows_different=different,
        largest_difference=largest,
        faster_share=estimate,
        faster_lower=lower,
        faster_upper=upper,
    )


def faster_share(
    varied_ns: Int64Array, repeated_ns: Int64Array, rounds: int = FIRST_ROUNDS
) -> tuple[float | None, float | None, float | None]:
    """1 - repeated / varied and its bounds: Student t on the log ratio of the medians of `rounds` each, in pairs.

    Samples are in the order taken, so that a pair's rounds were taken together. None thrice for fewer than 3 a round.
    """
    varied, repeated = _medians(varied_ns, rounds), _medians(repeated_ns, rounds)
    if varied is None or repeated is None:
        return None, None, None
    look = 1 + max(0.0, math.log2(rounds / FIRST_ROUNDS))
    bounds = batch_mean_bounds(np.log(varied / repeated), 1 - (1 - CONFIDENCE) / 2**look)
    return -math.expm1(-bounds.estimate), -math.expm1(-bounds.lower), -math.expm1(-bounds.upper)


def _medians(samples_ns: Int64Array, rounds: int) -> Float64Array | None:
    length = len(samples_ns) // rounds
    if length < 3 or (samples_ns <= 0).any():
        return None
    return np.asarray(np.median(samples_ns[: rounds * length].reshape(rounds, length), axis=1), np.float64)


def _outputs(record: AuditRecord) -> tuple[int, float | None, str]:
    """How many rows differ, the largest difference, and both in words."""
    compared, timed, scored = len(record.rows), record.timed_scores, record.scored
    if not compared:
        return 0, None, "no outputs were kept while timing, so none could be compared"
    if timed.shape != scored.shape:
        return compared, None, f"outputs while timing are {timed.shape[1:]}, those scored are {scored.shape[1:]}"
    timed, scored = timed.astype(np.float64), scored.astype(np.float64)
    same = (timed == scored) | (np.isnan(timed) & np.isnan(scored))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(timed - scored))
    size = np.where(np.isfinite(scored), np.abs(scored), 0.0).max(axis=1, keepdims=True)
    is_close = distance <= TOLERANCE + TOLERANCE_SHARE * size  # not so for NaN
    different = int((~is_close).any(axis=1).sum())
    largest = float(np.nanmax(distance, initial=0.0))
    if different:
        return (
            different,
            largest,
            f"{different} of {compared} rows had other outputs while timing, by up to {largest:.3g}",
        )
    return 0, largest, f"{compared} rows had the same outputs while timing"


def _speed_reason(estimate: float | None, lower: float | None, upper: float | None) -> str:
    if estimate is None or lower is None or upper is None:
        return "there are too few samples to tell whether one row again and again is faster"
    word = "faster" if estimate >= 0 else "slower"
    found = f"one row again and again is {100 * abs(estimate):.1f} % {word} than rows in turn"
    if lower > FASTER_LIMIT:
        return f"{found}, and at least {100 * lower:.1f} %: answers may be remembered"
    if upper > FASTER_LIMIT:
        most = f"{100 * upper:.1f} % faster as far as its samples tell"
        return f"{found}, and up to {most}, where {100 * FASTER_LIMIT:g} % is allowed"
    return f"{found}, and at most {100 * max(upper, 0.0):.1f} % faster"
