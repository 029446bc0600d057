"""From nothing to the first answer, on a device's own clock."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.measure.obtained import obtained_on
from kit.records import ColdStartRecord
from kit.spec.types import DeviceSpec


def measure_cold_start(
    device: Device, spec: DeviceSpec, digest: str, inputs: NDArray[np.generic], *, sessions: int
) -> ColdStartRecord | None:
    """Start `sessions` fresh processes; None where the device has no method.

    Raises DeviceError or LinkError from the device.
    """
    samples = device.measure_cold_start(digest, inputs, sessions=sessions)
    if samples is None:
        return None
    emulated = obtained_on(device.identify().emulated, "clock", "speed", "frequency", "storage")
    return ColdStartRecord(
        variant_digest=digest,
        ready_ns=samples.ready_ns,
        load_ns=samples.load_ns,
        first_run_ns=samples.first_run_ns,
        method=samples.method,
        obtained=emulated if spec.timing_is_real else "emulated",
    )
