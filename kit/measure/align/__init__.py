"""Where the device's windows are in a meter's trace: by a digital line, by clocks, or by a signature in the power.

Each method gives an AlignmentRecord with an error bound. The best that is there is taken: a digital line whose edges
match; one clock for both; clocks that are close enough for the windows; else the signature.
"""

from dataclasses import dataclass, replace

from kit.errors import MeasurementError
from kit.measure.align.offset import align_clocks, align_same_clock
from kit.measure.align.readings import CONFIDENCE, ClockReading, Prior, text, to_trace
from kit.measure.align.signature import align_signature, pattern_s
from kit.measure.align.trigger import align_trigger
from kit.meter.base import PowerTrace
from kit.records import AlignmentRecord, Int64Array

SMALL_SHARE = 0.01
"""Clocks do where both ends of a window together are known to this share of it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the device said of when it worked.

    windows_ns: int64 [windows, 2]; pattern_ns: int64 [stretches, 2], a signature's busy stretches, None if none was
    run; both on the device's clock, which was read `before` and `after`. one_clock: it is the host's.
    """

    windows_ns: Int64Array
    before: ClockReading
    after: ClockReading
    one_clock: bool
    pattern_ns: Int64Array | None = None

    @property
    def shortest_ns(self) -> int:
        """The shortest window."""
        return int((self.windows_ns[:, 1] - self.windows_ns[:, 0]).min())


def is_one_clock(reading: ClockReading, *, same_machine: bool) -> bool:
    """Whether the device's clock is the host's: its agent runs here, and nothing tells the two clocks apart."""
    return same_machine and abs(reading.offset_ns) <= reading.error_ns


def are_clocks_enough(reading: ClockReading, clock_error_ns: int, window_ns: float, *, one_clock: bool) -> bool:
    """Whether clocks alone place a window well enough, so that no signature is needed."""
    error_ns = clock_error_ns + (0 if one_clock else reading.error_ns)
    return 2 * error_ns <= SMALL_SHARE * window_ns


def align(trace: PowerTrace, timing: Timing) -> AlignmentRecord:
    """The best alignment that trace and device allow; `explanation` says what was found and what was refused.

    Raises MeasurementError where none places the windows to within half of the shortest.
    """
    refusals: list[str] = []
    prior = _prior(trace, timing)
    found = _by_trigger(trace, timing, prior, refusals) or _by_clock(trace, timing)
    if found.method != "trigger" and 2 * found.error_ns > SMALL_SHARE * timing.shortest_ns:
        found = _by_signature(trace, timing, prior, refusals) or found
    if 2 * found.error_ns >= timing.shortest_ns:
        raise MeasurementError(
            f"windows of {text(timing.shortest_ns)} are placed to {text(found.error_ns)} only: "
            f"{'; '.join([found.explanation, *refusals])}",
            next_step="measure longer windows, or connect a digital line from the device to the meter",
        )
    return replace(found, explanation="; ".join([found.explanation, *refusals]))


def _prior(trace: PowerTrace, timing: Timing) -> Prior:
    """Where the clocks say that the windows are: a bound that holds for both readings."""
    first, last = timing.before, timing.after
    spread = abs(last.offset_ns - first.offset_ns) + first.error_ns + last.error_ns
    return Prior(first.offset_ns, spread + trace.clock_error_ns)


def _by_trigger(trace: PowerTrace, timing: Timing, prior: Prior, refusals: list[str]) -> AlignmentRecord | None:
    if trace.trigger is None or not (trace.trigger != trace.trigger[:1]).any():
        return None
    try:
        return align_trigger(trace, timing.windows_ns, prior)
    except MeasurementError as error:
        refusals.append(f"no trigger: {error}")
        return None


def _by_clock(trace: PowerTrace, timing: Timing) -> AlignmentRecord:
    if timing.one_clock:
        return align_same_clock(trace.clock_error_ns)
    return align_clocks(timing.before, timing.after, trace.clock_error_ns)


def _by_signature(trace: PowerTrace, timing: Timing, prior: Prior, refusals: list[str]) -> AlignmentRecord | None:
    if timing.pattern_ns is None:
        refusals.append("the device ran no signature")
        return None
    try:
        return align_signature(trace, timing.pattern_ns, prior)
    except MeasurementError as error:
        refusals.append(f"no signature: {error}")
        return None


__all__ = [
    "CONFIDENCE",
    "ClockReading",
    "Prior",
    "Timing",
    "align",
    "align_clocks",
    "align_same_clock",
    "align_signature",
    "align_trigger",
    "are_clocks_enough",
    "is_one_clock",
    "pattern_s",
    "text",
    "to_trace",
]
