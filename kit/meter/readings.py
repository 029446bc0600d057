"""Power that a sensor tells at each reading, as a trace."""

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.files import FileSamples
from kit.meter.base import PowerTrace
from kit.meter.series import breaks_of, gaps_at, why_ended
from kit.records import Float64Array


def trace_of_readings(
    samples: FileSamples,
    power_w: Float64Array,
    *,
    current_a: Float64Array | None = None,
    voltage_v: Float64Array | None = None,
    is_off: NDArray[np.bool_] | None = None,
    off_reason: str = "",
    age_ns: int = 0,
) -> PowerTrace:
    """power_w, current_a, voltage_v: float64 [n] at each sample, NaN where it could not be read.

    A reading holds since the one before it. One that failed is lost; from ten periods and 0.1 s without any it is a
    gap. is_off: bool [n], where the sensor told of something else than the work, for `off_reason`: always a gap.
    age_ns: how old a reading may be when it is read.

    Raises MeasurementError where there are not two readings.
    """
    off = np.zeros(len(power_w), np.bool_) if is_off is None else is_off
    is_read = np.isfinite(power_w)
    is_kept = is_read & ~off
    if is_kept.sum() < 2:
        why = off_reason if off.any() else "its files hold no numbers, or it was stopped at once"
        raise MeasurementError(f"the meter gave fewer than two readings: {why}", next_step="measure longer, or again")
    t_ns, skipped = samples.t_ns[is_kept], np.cumsum(off)[is_kept]
    is_broken = breaks_of(t_ns) | (np.diff(skipped) > 0)
    ended = why_ended(is_read) or (off_reason if off[-1] else "")

    def held(values: Float64Array) -> Float64Array:
        return np.concatenate([[np.nan], np.where(is_broken, np.nan, values[is_kept][1:])])

    return PowerTrace(
        t_ns=t_ns,
        power_w=held(power_w),
        lost_samples=samples.late + int((~is_kept).sum()),
        current_a=None if current_a is None else held(current_a),
        voltage_v=None if voltage_v is None else held(voltage_v),
        gaps_ns=gaps_at(t_ns, is_broken, int(samples.t_ns[-1]) if ended else None),
        clock_error_ns=samples.error_ns + age_ns,
        ended=ended,
    )
