"""Alignment by clocks: the device's offset from the host's, read before and after, and the trace's own clock error."""

from kit.errors import MeasurementError
from kit.measure.align.readings import ClockReading, record, text
from kit.records import AlignmentRecord

WANDER_PPM = 5.0
"""How far a clock's rate may stray from its mean over a run: a crystal warms by some kelvins (1 ppm each and less)."""

MOST_CLOCK_DRIFT = 1e-3
"""A clock that strays more was set, has restarted or wrapped around; it does not keep time."""

SAME_CLOCK_ERROR_NS = 1000
"""Reading one clock twice, around the work: what lies between the reading and the work's edge."""


def align_same_clock(clock_error_ns: int) -> AlignmentRecord:
    """Windows and trace are timed by one clock, this machine's: only the trace's own error is left."""
    error_ns = clock_error_ns + SAME_CLOCK_ERROR_NS
    words = f"the device's agent and the trace are timed by one clock, within {text(error_ns)}"
    return record("same clock", 0, 0, 0.0, error_ns, words)


def align_clocks(before: ClockReading, after: ClockReading, clock_error_ns: int) -> AlignmentRecord:
    """The line through two readings; windows lie between them.

    Where both bounds hold, a line through the readings is off by at most the larger bound between them, and a rate
    that strays by WANDER_PPM from its mean adds at most half of that over the distance; the trace's clock adds its own.
    Raises MeasurementError if the clock jumped in between.
    """
    apart_ns = after.device_ns - before.device_ns
    change_ns, bounds_ns = after.offset_ns - before.offset_ns, before.error_ns + after.error_ns
    if apart_ns <= 0 or abs(change_ns) > bounds_ns + MOST_CLOCK_DRIFT * apart_ns:
        raise MeasurementError(
            f"the device's clock moved by {text(abs(change_ns))} against the host's during the measurement",
            next_step="check that nothing sets the device's clock or restarts it, then measure again",
        )
    drift = change_ns / apart_ns
    error_ns = max(before.error_ns, after.error_ns) * (1 + abs(drift)) + WANDER_PPM * 1e-6 * apart_ns / 2
    words = (
        f"offset within {text(before.error_ns)} before and {text(after.error_ns)} after, {apart_ns / 1e9:.3g} s apart; "
        f"the trace's clock within {text(clock_error_ns)}"
    )
    return record("clock offset", before.device_ns, before.offset_ns, drift * 1e6, error_ns + clock_error_ns + 1, words)
