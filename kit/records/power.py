"""Power and energy as they were measured: who measured, how windows were aligned, and how far all of it may be off."""

from dataclasses import dataclass
from typing import Literal

from kit.records.base import Float64Array, Int64Array, Obtained


@dataclass(frozen=True, slots=True)
class MeterAccuracy:
    """How far a reading may be off, as the maker states it, for the range that was used; `source` names where.

    gain_share: of the reading, largest; offset_w: in W, largest; resolution_w: one step. Each bounds a rectangular
    distribution (JCGM 100:2008, 4.3.7).
    """

    gain_share: float
    offset_w: float
    resolution_w: float
    source: str


@dataclass(frozen=True, slots=True)
class MeterRecord:
    """Where power figures come from; `parameters` are the meter's declared constants with units in their names.

    `accuracy` is None where nobody states one: an uncertainty is then not known, which is not zero.
    """

    name: str
    obtained: Obtained
    description: str
    parameters: dict[str, float]
    accuracy: MeterAccuracy | None = None


AlignmentMethod = Literal["same clock", "trigger", "clock offset", "signature"]


@dataclass(frozen=True, slots=True)
class AlignmentRecord:
    """How the device's windows were found in the trace.

    t_trace = t_device - offset_ns - drift_ppm * 1e-6 * (t_device - epoch_ns). error_ns bounds how far an edge so placed
    may be off, at the stated confidence.
    """

    method: AlignmentMethod
    offset_ns: int
    drift_ppm: float
    epoch_ns: int
    error_ns: int
    confidence: float
    explanation: str


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A part of the device's work (idle, load request, inference, transmit): all of its stretches together.

    The two named by what crosses the link hold that, too: they are from the host's request to its answer.

    Currents are None for a meter that gives power alone.
    """

    name: str
    duration_s: float
    energy_j: float
    mean_power_w: float
    peak_power_w: float
    mean_current_a: float | None = None
    peak_current_a: float | None = None


@dataclass(frozen=True, slots=True)
class UncertaintyRecord:
    """Standard uncertainties of an inference's energy above idle, relative (0 to 1), and their root sum of squares.

    None where it is not known, and then so is the combined one. coverage 2 is about 95 % (JCGM 100:2008, 6.3.3).
    """

    accuracy_share: float | None
    resolution_share: float | None
    alignment_share: float | None
    sampling_share: float | None
    combined_share: float | None


@dataclass(frozen=True, slots=True)
class EnergyRecord:
    """Energy of timed windows of back-to-back inferences, and the trace that it was integrated from.

    window_energy_j: float64 [windows], gross; window_s: float64 [windows]; window_inferences: int64 [windows].
    windows_ns: int64 [windows, 2], their ends on the trace's clock. idle_power_w: mean power with the model loaded and
    idle; idle_window_power_w: float64 [stretches], each stretch of it. trace_t_ns: int64 [samples], host's monotonic
    clock; trace_power_w, trace_current_a: float64 [samples], mean since the sample before, NaN where there is none or
    after a gap. gaps_ns: int64 [gaps, 2], what the meter did not see.
    """

    variant_digest: str
    meter: MeterRecord
    window_energy_j: Float64Array
    window_s: Float64Array
    window_inferences: Int64Array
    idle_power_w: float
    trace_t_ns: Int64Array
    trace_power_w: Float64Array
    obtained: Obtained
    windows_ns: Int64Array | None = None
    idle_window_power_w: Float64Array | None = None
    trace_current_a: Float64Array | None = None
    gaps_ns: Int64Array | None = None
    lost_samples: int = 0
    alignment: AlignmentRecord | None = None
    phases: tuple[PhaseRecord, ...] = ()
    uncertainty: UncertaintyRecord | None = None
    ended: str = ""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """Power over time while a command ran (`edgeproof meter record`), or as another tool recorded it.

    t_ns: int64 [n], from 0; power_w, current_a, voltage_v: float64 [n]; power is the mean since the sample before.
    command_ns: when the command began and ended on the same clock, int64 [2]. ended: why the meter stopped early.
    """

    meter: MeterRecord
    t_ns: Int64Array
    power_w: Float64Array
    current_a: Float64Array | None
    voltage_v: Float64Array | None
    trigger: Int64Array | None
    lost_samples: int
    gaps_ns: Int64Array
    command_ns: Int64Array | None
    ended: str
    obtained: Obtained
