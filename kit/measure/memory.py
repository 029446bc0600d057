"""Memory that a model adds to the agent's process."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.measure.obtained import obtained_on
from kit.records import MemoryRecord
from kit.spec.types import DeviceSpec, MeasurePlan


def measure_memory(
    device: Device, spec: DeviceSpec, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> MemoryRecord | None:
    """Peak and steady memory of `plan.memory_sessions` fresh sessions; None where the device has no method."""
    del spec  # the device's own record says what is emulated, and may know more than its file
    samples = device.measure_memory(digest, inputs, sessions=plan.memory_sessions)
    if samples is None:
        return None
    return MemoryRecord(
        variant_digest=digest,
        peak_bytes=samples.peak_bytes,
        steady_bytes=samples.steady_bytes,
        baseline_bytes=samples.baseline_bytes,
        method=samples.method,
        obtained=obtained_on(device.identify().emulated, "memory"),
    )
