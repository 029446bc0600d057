"""The declared power model that estimate and emulation share: idle power, and what one busy core adds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kit.errors import SpecError
from kit.spec.types import MeterSpec


@dataclass(frozen=True, slots=True)
class PowerModel:
    """power_w = idle_power_w + (CPU time / wall time) x active_power_w; the share may exceed 1 on several cores."""

    idle_power_w: float
    active_power_w: float

    def power_w(self, cpu_ns: float, wall_ns: float) -> float:
        """Mean power in W over `wall_ns`, of which `cpu_ns` were spent computing."""
        return self.idle_power_w + cpu_ns / wall_ns * self.active_power_w


def read_parameters(spec: MeterSpec, required: tuple[str, ...], optional: Mapping[str, float]) -> dict[str, float]:
    """The meter's parameters with its defaults filled in.

    Raises SpecError for one that is missing, unknown, negative or not finite.
    """
    where, known = f"meter {spec.driver}", (*required, *optional)
    for name in spec.parameters:
        if name not in known:
            raise SpecError(f"unknown parameter {name!r}", where=where, next_step=f"known are {', '.join(known)}")
    for name in required:
        if name not in spec.parameters:
            raise SpecError(f"parameter {name!r} is missing", where=where, next_step=f"state {name} for this meter")
    values = dict(optional) | {name: float(value) for name, value in spec.parameters.items()}
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise SpecError(f"{name} = {value:g} is not a number from 0 up", where=where, next_step=f"correct {name}")
    return values
