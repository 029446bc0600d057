"""Latency of single inferences on a device's own clock, warm-up found and kept, with the conditions around it."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device, Progress
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on
from kit.measure.warmup import METHOD, warmup_count
from kit.records import LatencyRecord
from kit.spec.types import DeviceSpec, MeasurePlan


def measure_latency(
    device: Device,
    spec: DeviceSpec,
    digest: str,
    inputs: NDArray[np.generic],
    plan: MeasurePlan,
    progress: Progress | None = None,
) -> LatencyRecord:
    """Time single inferences of the deployed model `digest` on rows of inputs [rows, *shape], in turn.

    Raises DeviceError or LinkError from the device, and MeasurementError for samples that are no times.
    """
    before = device.conditions()
    timed = device.time_inferences(
        digest, inputs, count=plan.latency_inferences, min_s=plan.latency_min_s, progress=progress
    )
    if not (timed.samples_ns > 0).any():
        raise MeasurementError(
            "every latency sample is 0 ns", where=f"device {spec.name}", next_step="is its clock too coarse?"
        )
    emulated = obtained_on(device.identify().emulated, "clock", "speed", "frequency")
    return LatencyRecord(
        variant_digest=digest,
        samples_ns=timed.samples_ns,
        warmup_count=warmup_count(timed.samples_ns),
        warmup_method=METHOD,
        scenario="single stream, back to back, rows in turn",
        threads=spec.threads,
        clock=timed.clock,
        clock_resolution_ns=timed.clock_resolution_ns,
        load_ns=timed.load_ns,
        first_run_ns=timed.first_run_ns,
        before=before,
        after=device.conditions(),
        obtained=emulated if spec.timing_is_real else "emulated",
    )
