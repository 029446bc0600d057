"""What alignment works with: readings of the device's clock, windows on it, and moments taken to the trace's clock."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.records import AlignmentRecord, Float64Array, Int64Array
from kit.stats.special import student_t_quantile

CONFIDENCE = 0.99
"""Confidence of every alignment's error bound."""

MOST_DRIFT_PPM = 200.0
"""Two crystals of 100 ppm each, the worst of common ones: no pair of clocks that keeps time drifts more."""

MOST_DRIFT = MOST_DRIFT_PPM * 1e-6


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Device clock less host's `time.monotonic_ns` at `host_ns`, and its error bound, ns."""

    host_ns: int
    offset_ns: int
    error_ns: int

    @property
    def device_ns(self) -> int:
        """The device's clock at that moment."""
        return self.host_ns + self.offset_ns


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of the offset before the trace is looked at: device clock less trace's, within `error_ns`."""

    offset_ns: int
    error_ns: int


def to_trace(alignment: AlignmentRecord, device_ns: Int64Array) -> Int64Array:
    """Moments of the device's clock on the trace's, int64 of the same shape (see AlignmentRecord)."""
    device_ns = np.asarray(device_ns, np.int64)
    drift_ns = np.rint(alignment.drift_ppm * 1e-6 * (device_ns - alignment.epoch_ns)).astype(np.int64)
    return np.asarray(device_ns - alignment.offset_ns - drift_ns, np.int64)


def record(
    method: str, epoch_ns: int, offset_ns: float, drift_ppm: float, error_ns: float, explanation: str
) -> AlignmentRecord:
    """An AlignmentRecord at CONFIDENCE, its error rounded up."""
    return AlignmentRecord(
        method=method,  # type: ignore[arg-type]
        offset_ns=round(offset_ns),
        drift_ppm=float(drift_ppm) + 0.0,  # no negative zero
        epoch_ns=int(epoch_ns),
        error_ns=int(np.ceil(error_ns)),
        confidence=CONFIDENCE,
        explanation=explanation,
    )


def text(error_ns: float) -> str:
    """A time for people: 340 ns, 12 µs, 1.5 ms."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if error_ns >= factor:
            return f"{error_ns / factor:.3g} {unit}"
    return f"{error_ns:.0f} ns"


@dataclass(frozen=True, slots=True)
class Line:
    """y = level + slope (x - middle), and how far it may be off anywhere between two ends, with CONFIDENCE."""

    level: float
    slope: float
    middle: float
    error: float

    def at(self, x: Float64Array | float) -> Any:
        """The line there."""
        return self.level + self.slope * (x - self.middle)


def fitted(x: Float64Array, y: Float64Array, start: float, end: float) -> Line:
    """The least-squares line through 4 points or more, or a level where scatter hides any drift that clocks can have.

    A line's band is sqrt(2 F) standard errors (H. Working and H. Hotelling, Journal of the American Statistical
    Association 24, 1929), with the quantile of F at 2 and n - 2 degrees of freedom, which has a closed form. A level's
    is Student's t of them, and MOST_DRIFT_PPM as far as it reaches. The narrower is taken.
    """
    middle, df = float(x.mean()), len(x) - 2
    centred, far = x - middle, max(abs(start - x.mean()), abs(end - x.mean()))
    spread, level = float(centred @ centred) or 1.0, float(y.mean())
    slope = float(centred @ y) / spread
    residual = y - level - slope * centred
    scatter = float(np.sqrt(residual @ residual / df))
    band = np.sqrt(df * ((1 - CONFIDENCE) ** (-2 / df) - 1)) * scatter * np.sqrt(1 / len(x) + far**2 / spread)
    flat = student_t_quantile((1 + CONFIDENCE) / 2, float(df)) * scatter / np.sqrt(len(x)) + MOST_DRIFT * far
    return Line(level, slope, middle, float(band)) if band <= flat else Line(level, 0.0, middle, float(flat))
