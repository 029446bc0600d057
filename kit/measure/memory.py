"""Memory that a model adds to the agent's process, by phase, and what of its file is weights."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.measure.obtained import obtained_on
from kit.records import MemoryRecord
from kit.spec.types import DeviceSpec, MeasurePlan


def measure_memory(
    device: Device,
    spec: DeviceSpec,
    digest: str,
    inputs: NDArray[np.generic],
    plan: MeasurePlan,
    *,
    model_bytes: int | None = None,
    weight_bytes: int | None = None,
) -> MemoryRecord | None:
    """Memory of `plan.memory_sessions` fresh sessions; None where the device has no method.

    model_bytes, weight_bytes: of the file as it was deployed, and of its initializers (kit.model.weights), where known.
    """
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
        load_peak_bytes=samples.load_peak_bytes,
        first_run_peak_bytes=samples.first_run_peak_bytes,
        steady_proportional_bytes=samples.steady_proportional_bytes,
        arena_bytes=samples.arena_bytes,
        model_bytes=model_bytes,
        weight_bytes=weight_bytes,
    )
