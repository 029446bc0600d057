"""Where the time of an inference goes, by node of the graph that the runtime ran."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.measure.obtained import obtained_on
from kit.records import OperatorProfile
from kit.spec.types import DeviceSpec

METHOD = (
    "the runtime's own profiler, in sessions of their own; it slows what it watches, rounds each time down to a whole "
    "microsecond, and names nodes as the runtime has fused them: shares compare nodes, and are no latency"
)


def measure_operators(
    device: Device, spec: DeviceSpec, digest: str, inputs: NDArray[np.generic], *, inferences: int
) -> OperatorProfile | None:
    """Mean time by node over `inferences` runs, longest first; None where the device has no method.

    Raises DeviceError or LinkError from the device.
    """
    operators = device.profile_operators(digest, inputs, inferences=inferences)
    if operators is None:
        return None
    emulated = obtained_on(device.identify().emulated, "clock", "speed", "frequency")
    obtained = emulated if spec.timing_is_real else "emulated"
    return OperatorProfile(digest, inferences, operators, METHOD, obtained)
