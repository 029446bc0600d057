"""Devices: what they say of themselves, and the state that they are in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What a device said of itself, and which of its parts are emulated.

    `limits` are those that were enforced on it, and by what.
    """

    name: str
    link: str
    emulated: tuple[str, ...]
    system: str
    architecture: str
    cpu_model: str
    instruction_sets: tuple[str, ...]
    logical_cpus: int
    memory_bytes: int | None
    runtime: str
    runtime_version: str
    providers: tuple[str, ...]
    python_version: str
    agent_version: str
    agent_digest: str
    board: str | None = None
    free_storage_bytes: int | None = None
    thermal_zones: tuple[str, ...] = ()
    battery: str | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """The device's state at one moment; None is what it could not tell.

    cooling_share: the most engaged cooling device, 0 to 1 of its highest state. throttle_count: events that the
    processor counted since it started. cpu_pressure_share, memory_pressure_share: time that some task waited for it, of
    the last 10 s (Linux, accounting/psi.rst). busy_cpu_s: CPU time that everything used on all processors since the
    device started, process_cpu_s: of it, the agent; their differences between two moments are what others took.
    held_back_s: how long a CPU quota has kept the agent from running.
    """

    utc: str
    load_1min: float | None
    frequency_hz: float | None
    governor: str | None
    temperature_celsius: float | None
    available_memory_bytes: int | None
    battery_share: float | None
    cooling_share: float | None = None
    throttle_count: int | None = None
    cpu_pressure_share: float | None = None
    memory_pressure_share: float | None = None
    busy_cpu_s: float | None = None
    process_cpu_s: float | None = None
    held_back_s: float | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A device's state at `clock_ns` of its own monotonic clock, while it worked."""

    clock_ns: int
    conditions: Conditions
