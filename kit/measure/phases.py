"""The parts of a device's work, each with its power: idle, load request, inference, transmit.

Idle: model loaded, nothing asked. Load request: it crosses the link, a fresh session is made and runs a few times, the
answer comes back; so it takes longer than the load that the device times. Inference: the timed windows. Transmit: rows
cross the link and are answered, their inference included. Windows are timed on the device's clock, the other parts on
the host's around its requests.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.errors import DeviceError, LinkError
from kit.measure.trace import charges_c, energies_j, peak
from kit.meter.base import PowerTrace
from kit.records import Int64Array, PhaseRecord

TRANSMITTED_BYTES = 16 << 10
"""Rows of about this many bytes are sent to see what sending takes; one row at least."""


def phase(name: str, traces: Sequence[PowerTrace], spans_ns: Int64Array, error_ns: int = 0) -> PhaseRecord | None:
    """What the meter saw of spans_ns int64 [k, 2] of its clock; None where it saw none of them whole."""
    energy_j = energies_j(traces, spans_ns, error_ns)
    seen = np.isfinite(energy_j)
    spans_ns, energy_j = spans_ns[seen], energy_j[seen]
    duration_s = float((spans_ns[:, 1] - spans_ns[:, 0]).sum()) * 1e-9
    if not duration_s > 0:
        return None
    with_current = [(trace, trace.current_a) for trace in traces if trace.current_a is not None]
    charge_c = charges_c(traces, spans_ns, error_ns)
    mean_current_a = None if charge_c is None or not np.isfinite(charge_c).all() else float(charge_c.sum()) / duration_s
    peak_current_a = peak([trace for trace, _ in with_current], [current for _, current in with_current], spans_ns)
    return PhaseRecord(
        name=name,
        duration_s=duration_s,
        energy_j=float(energy_j.sum()),
        mean_power_w=float(energy_j.sum()) / duration_s,
        peak_power_w=peak(traces, [trace.power_w for trace in traces], spans_ns),
        mean_current_a=mean_current_a,
        peak_current_a=peak_current_a if np.isfinite(peak_current_a) else None,
    )


def loading(device: Device, digest: str, inputs: NDArray[np.generic]) -> Callable[[], bool]:
    """Work that makes a fresh session: a timing of one inference does; False where the device refuses."""

    def load() -> bool:
        try:
            device.time_inferences(digest, inputs[:1], count=1, min_s=0.0)
        except LinkError:
            raise
        except DeviceError:
            return False
        return True

    return load


def transmitting(device: Device, digest: str, inputs: NDArray[np.generic]) -> Callable[[], bool]:
    """Work that moves rows to the device and scores back; False where the device refuses (which output?)."""
    rows = inputs[: max(1, TRANSMITTED_BYTES // max(1, inputs[:1].nbytes))]

    def send() -> bool:
        try:
            device.predict(digest, rows, output=None, exact=False)
        except LinkError:
            raise
        except DeviceError:
            return False
        return True

    return send
