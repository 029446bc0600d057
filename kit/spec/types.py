"""What a user asks for: profiles, device files and dataset manifests, as parsed and in SI units."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.records import DatasetRecord, TaskName

Metric = Literal[
    "latency.p50",
    "latency.p90",
    "latency.p95",
    "latency.p99",
    "latency.p99.9",
    "memory.peak",
    "model.size",
    "battery.share",
    "battery.life",
    "accuracy.value",
    "accuracy.drop",
    "quality.value",
    "quality.loss",
    "agreement.flips",
    "slices.found",
    "fairness.gap",
    "fairness.ratio",
    "fairness.gap_change",
    "numerics.processor_flips",
    "data.missing",
    "data.wrong",
    "data.duplicates",
    "data.leaked",
    "data.shifted",
    "data.lagged",
    "privacy.membership",
    "explanation.agreement",
]
"""What a requirement is about.

latency.pNN: quantile of one inference, s. memory.peak: what the model adds to the process, B. model.size: B.
battery.share: share of battery life that the model costs. battery.life: life with the model, s.
accuracy.value: share right on the device.
accuracy.drop: reference accuracy less optimized accuracy on the same rows (also for each slice with `by`).
quality.value: a named measure on the device; quality.loss: by how much it is worse than the reference's.
agreement.flips: share of rows decided otherwise than by the reference. slices.found: drop on the worst conjunction of
columns that a search finds and held-out rows confirm. fairness.gap, fairness.ratio: difference and ratio between groups
on the device; fairness.gap_change: gap after less before. numerics.processor_flips: share of rows whose decision
depends on whether the processor's int8 kernels saturate. data.*: share of rows (or, for data.shifted and data.lagged, a
distance from 0 to 1) of which a fault of the data is found. privacy.membership: advantage of an attack that guesses who
was trained on, over the reference's. explanation.agreement: rank agreement of what reference and variant look at.
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A one-sided claim with its limit in SI units (s, B; a share or points as 0 to 1).

    `by` lists the columns whose every value is a slice to be judged by itself, crossed up to `cross` of them; `slices`
    are those of the profile by name. `minimum_rows` and `minimum_clusters` are the least that a slice must have.
    `limit_text` is the limit as the user wrote it. `measure` is a row of `kit.spec.measures`, or ``file.py:function``.
    `positive` is the class that groups want (fairness): if empty the last one of two, and of more the worst counts;
    `harm` the kind that is feared. `largest`: no row loses more, or errs by more (None: not said), where the measure
    itself has no end.
    """

    id: str
    metric: Metric
    direction: Literal["at_most", "at_least"]
    limit: float
    limit_text: str
    confidence: float
    by: tuple[str, ...] = ()
    minimum_rows: int = 30
    minimum_clusters: int = 5
    why: str = ""
    line: int = 0
    measure: str = ""
    slices: tuple[str, ...] = ()
    cross: int = 1
    positive: str = ""
    harm: str = ""
    largest: float | None = None


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """A slice with a name: the rows where an expression over columns holds, or a scenario's rows (numbers from 0)."""

    name: str
    where: str = ""
    rows: tuple[int, ...] = ()
    why: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Duty:
    """How often the device runs the model."""

    inferences_per_s: float


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """How much is measured.

    `latency_inferences` and `latency_min_s` are those of all `latency_windows` together, which share them evenly.
    """

    latency_inferences: int = 2000
    latency_min_s: float = 2.0
    memory_sessions: int = 7
    energy_windows: int = 10
    energy_window_s: float = 0.3
    seed: int = 0
    latency_windows: int = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """A conformance profile: requirements, candidate recipes, how to measure, and slices.

    `bins` says of a column of numbers into how many quantile bins it is cut.
    """

    name: str
    description: str
    digest: str
    path: str
    requirements: tuple[Requirement, ...]
    recipes: tuple[str, ...]
    cheapest_by: Literal["size", "latency", "energy"]
    duty: Duty | None
    measure: MeasurePlan
    icc_floor: float = 0.05
    slices: tuple[SliceSpec, ...] = ()
    bins: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known exactly: its least, its likely and its greatest value. No probability is meant."""

    low: float
    likely: float
    high: float

    @property
    def is_exact(self) -> bool:
        """Whether the least is the greatest."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Pulse:
    """Work that comes again and again: power in W on top of the rest, duration in s, how often in 1/s."""

    power_w: float
    duration_s: float
    rate_hz: float


@dataclass(frozen=True, slots=True)
class DischargeTable:
    """A cell as it was discharged: open-circuit voltage (V) and resistance (ohm) against used charge (C, rising).

    current_a: the mean current of that discharge; temperature_celsius: what it was done at. None: not said.
    """

    used_c: tuple[float, ...]
    open_circuit_v: tuple[float, ...]
    resistance_ohm: tuple[float, ...]
    current_a: float | None = None
    temperature_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class DischargeProfile:
    """A battery profile: a cell's name, charge (C), nominal and cutoff voltage (V; None: not said), and its tables."""

    name: str
    digest: str
    capacity_c: float
    voltage_v: float | None
    cutoff_v: float | None
    tables: tuple[DischargeTable, ...]


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """A battery: energy in J when full, and the mean power in W that drains it without the model.

    None is what the file does not state. capacity_tolerance_share, other_load_tolerance_share: each way of what is
    stated. health_share: what age has left of the capacity; derating_share: what temperature lets be drawn of it;
    self_discharge_share: lost in a month (30.4 days) at 20 degrees Celsius. efficiency_share: of the regulator between
    the battery and where loads and meter are stated; None: they are stated at the battery. cutoff_v: where the device
    stops. transmit: what the device sends, with or without the model.
    """

    capacity_j: float
    other_load_w: float
    reserve_share: float = 0.0
    voltage_v: float | None = None
    chemistry: str = ""
    capacity_tolerance_share: float | None = None
    other_load_tolerance_share: float = 0.0
    health_share: Range | None = None
    derating_share: Range | None = None
    self_discharge_share: Range | None = None
    temperature_celsius: Range | None = None
    efficiency_share: Range | None = None
    resistance_ohm: Range | None = None
    cutoff_v: float | None = None
    transmit: Pulse | None = None
    discharge: DischargeProfile | None = None


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter's driver name (a row of kit.meter's registry), its declared constants in SI units, and its words.

    Words are what is no number: a port, a rail's name, a file.
    """

    driver: str
    parameters: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineSpec:
    """An emulated serial line: rate, delay each way in s, and how often a bit flips or a byte is lost."""

    baud: int
    latency_s: float = 0.0
    bit_error_rate: float = 0.0
    byte_loss_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class EmulateSpec:
    """Limits that the kernel holds a local agent to: memory and storage in B, share of one core, and its line."""

    memory_bytes: int | None = None
    cpu_share: float | None = None
    storage_bytes: int | None = None
    line: LineSpec | None = None


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """A board that runs its own firmware behind a known protocol, and what must be known to feed and read it.

    An input element is sent as round(x / input_scale) + input_zero_point, saturated to `input_dtype`.
    `output_order` names the classes in the order in which the board prints them; empty means the dataset's order.
    `output_kind` "probabilities" are refused unless they sum to 1; "scores" may be any numbers.
    `window` is how many chunks may be under way at once; 0 means to probe. `interface_board`: its commands go
    through one that answers for it.
    """

    protocol: Literal["mlperf-tiny"]
    input_dtype: Literal["int8", "uint8", "float32"] = "int8"
    input_scale: float = 1.0
    input_zero_point: int = 0
    output_order: tuple[str, ...] = ()
    output_kind: Literal["probabilities", "scores"] = "probabilities"
    read_back: Literal["always", "sampled", "never"] = "always"
    window: int = 0
    interface_board: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device file: how to reach it, its meter and battery, and which of its parts are emulated.

    `link` is a URL (``subprocess:``) or a port (``/dev/ttyUSB0``); `wrapper` is a command put before the agent's (a
    processor emulator, say), `command` one used in its place at the other end; `key` is the path of a TCP key.
    `timing_is_real` is False where a processor is emulated: its times are then no latency.
    """

    name: str
    description: str
    digest: str
    path: str
    link: str
    wrapper: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    baud: int = 115200
    key: str = ""
    threads: int = 1
    timeout_s: float = 30.0
    emulated: tuple[str, ...] = ()
    timing_is_real: bool = True
    meter: MeterSpec | None = None
    battery: BatterySpec | None = None
    emulate: EmulateSpec | None = None
    board: BoardSpec | None = None


PartRole = Literal["test", "calibration", "selection", "train"]
"""What rows are for. test: they judge. calibration: they give int8 its ranges. selection: a search chooses on them.
train: the model was trained on them, or some of them: they show leaks, and whether the model tells its members."""


MISSING = "(missing)"
"""A metadata value that is not there, where a profile decides on missing ones."""


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """One file of a dataset, read and checked: inputs [rows, *shape] of the manifest's dtype, and its record."""

    role: PartRole
    inputs: NDArray[np.generic]
    record: DatasetRecord


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How a model's outputs become answers, for tasks whose answers are no table of scores.

    class_axis: whether the classes are the last or the first of the dimensions beside the batch. decode, blank, end:
    how the steps of a sequence become tokens; `end` is a class. detection: names of the outputs of boxes, confidences
    and classes, whose first has the number `first_class`; empty for other tasks.
    """

    class_axis: Literal["last", "first"] = "last"
    decode: Literal["argmax", "ctc"] = "argmax"
    blank: Literal["first", "last"] = "last"
    end: int | None = None
    detection: tuple[str, ...] = ()
    box_format: Literal["ltrb", "ltwh", "cxcywh"] = "ltrb"
    first_class: int = 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset manifest and its parts, all checked. `output_name` names the model's score output, if stated.

    input_minimum, input_maximum: between them lies every input that can be right, if stated.
    """

    name: str
    description: str
    digest: str
    path: str
    task: TaskName
    classes: tuple[str, ...]
    slice_columns: tuple[str, ...]
    output_name: str | None
    test: DatasetPart
    calibration: DatasetPart | None
    selection: DatasetPart | None = None
    train: DatasetPart | None = None
    input_minimum: float | None = None
    input_maximum: float | None = None
    output: OutputSpec = OutputSpec()
