"""What a bench is asked to measure: read and checked before a device is opened, and kept so that it can be resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.digest import digest_bytes
from kit.errors import ModelError, UsageError
from kit.model.load import LoadedModel, load_onnx
from kit.model.rows import Array, as_model_rows
from kit.pipeline.checks import check_is_onnx, check_runs_models
from kit.pipeline.interleave import turns
from kit.records import SINGLE_STREAM, TensorInfo, Workload
from kit.spec import load_dataset, load_device
from kit.spec.text import shown
from kit.spec.types import DeviceSpec, MeasurePlan
from kit.wire import DTYPES

RANDOM_ROWS = 24
COLD_SESSIONS = 7
PROFILED_INFERENCES = 100
MOST_MODELS, MOST_WINDOWS = 16, 100


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """A request to bench: names, or absolute paths so that it can be resumed from anywhere.

    Each window lasts `window_s` and has `min_count` samples at least. energy: None is "where the device has a meter".
    `data` None: rows are made from the model's own input, by `seed`, which also draws the order of the windows.
    patience_s: the longest wait before a window where conditions are held (`stable`). audit_s: the longest time of an
    audit that is not decided sooner; None is 8 windows' time.
    """

    models: tuple[str, ...]
    device: str
    data: str | None = None
    workload: Workload = SINGLE_STREAM
    windows: int = 5
    window_s: float = 2.0
    min_count: int = 64
    memory: bool = True
    energy: bool | None = None
    cold: bool = False
    operators: bool = False
    audit: bool = True
    stable: bool = False
    patience_s: float = 60.0
    seed: int = 0
    audit_s: float | None = None
    memory_sessions: int = 7
    energy_windows: int = 10
    energy_window_s: float = 0.5

    @property
    def plan(self) -> MeasurePlan:
        """How much one window, and each of the other measurements, is."""
        return MeasurePlan(
            latency_inferences=self.min_count,
            latency_min_s=self.window_s,
            memory_sessions=self.memory_sessions,
            energy_windows=self.energy_windows,
            energy_window_s=self.energy_window_s,
            seed=self.seed,
        )

    @property
    def longest_audit_s(self) -> float:
        """How long an audit may last that is not decided sooner, s."""
        return 8 * self.window_s if self.audit_s is None else self.audit_s


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model, what it is called among the others, and its rows [rows, *shape] in its dtype."""

    label: str
    loaded: LoadedModel
    rows: Array


@dataclass(frozen=True, slots=True)
class Rows:
    """Where rows come from: in words, their digest, and the score output that the manifest names."""

    source: str
    digest: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class BenchInputs:
    """Everything that an order names, read and checked."""

    order: BenchOrder
    device: DeviceSpec
    models: tuple[BenchModel, ...]
    rows: Rows


def read_bench(order: BenchOrder) -> BenchInputs:
    """Read device file, models and rows; opens and writes nothing.

    Raises:
        EdgeproofError: the first thing that is wrong, with its place.
    """
    device = load_device(order.device)
    check_runs_models(device)
    if not 1 <= len(order.models) <= MOST_MODELS:
        raise UsageError(f"from 1 to {MOST_MODELS} models are measured in turn, not {len(order.models)}",
                         next_step="name the models that are to be compared")  # fmt: skip
    if order.energy and device.meter is None:
        what = f"device {device.name} has no meter, so there is no energy to measure"
        raise UsageError(what, where=device.path, next_step="add a [meter] to the device file, or leave --energy out")
    for path in order.models:
        check_is_onnx(Path(path))
    loaded = [load_onnx(Path(path)) for path in order.models]
    found, rows = _rows(order, loaded)
    models = zip(labels(order.models), loaded, found, strict=True)
    return BenchInputs(order, device, tuple(BenchModel(*each) for each in models), rows)


def labels(paths: Sequence[str]) -> tuple[str, ...]:
    """What each model is called: its file's name, with its folder where several have it, numbered where that is one."""
    names = [Path(path).name.encode("utf-8", "backslashreplace").decode() for path in paths]  # any bytes, as text
    if len(set(paths)) == len(paths):
        names = [f"{Path(path).absolute().parent.name}/{name}" if names.count(name) > 1 else name
                 for path, name in zip(paths, names, strict=True)]  # fmt: skip
    seen = [names[:index].count(name) for index, name in enumerate(names)]
    return tuple(f"{name} ({before + 1})" if before else name for name, before in zip(names, seen, strict=True))


def _rows(order: BenchOrder, models: Sequence[LoadedModel]) -> tuple[list[Array], Rows]:
    if order.data is None:
        what = f"random rows made from the model's input, seed {order.seed}"
        return [_random_rows(each, order.seed) for each in models], Rows(what, digest_bytes(what.encode()))
    path = Path(order.data)
    if path.suffix != ".toml":
        raise UsageError("rows come from a dataset manifest", where=str(path),
                         next_step="write one (edgeproof data check FILE.toml), or leave --data out")  # fmt: skip
    dataset = load_dataset(path)
    found = [as_model_rows(dataset.test.inputs, _only_input(each)) for each in models]
    return found, Rows(f"{dataset.name}, {dataset.test.record.rows:,} rows", dataset.digest, dataset.output_name)


def _random_rows(model: LoadedModel, seed: int) -> Array:
    from kit.model.convert.rows import generated_rows

    wanted = _only_input(model)
    return as_model_rows(generated_rows((wanted,), seed, RANDOM_ROWS)[wanted.name], wanted)


def _only_input(model: LoadedModel) -> TensorInfo:
    inputs = model.record.inputs
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        what = f"the model has {len(inputs)} inputs ({names}); models with exactly one are supported"
        raise ModelError(what, where=model.record.name, next_step="merge the inputs into one when exporting it")
    if inputs[0].dtype not in DTYPES:
        what = f"input {inputs[0].name!r} takes values of type {inputs[0].dtype}, which no device is sent"
        raise ModelError(what, where=model.record.name, next_step=f"export it with one of {', '.join(DTYPES)}")
    return inputs[0]


def expected_seconds(inputs: BenchInputs) -> dict[str, float]:
    """The steps of a bench, in the order in which they are done, and what each may take, s: for the time left only."""
    order, plan = inputs.order, inputs.order.plan
    steps = {"device/identity": 1.0}
    for window, turn in enumerate(turns(len(inputs.models), order.windows, order.seed), 1):
        steps |= {f"latency/{model + 1}/{window}": _window_s(order) + 0.5 for model in turn}
    energy_s = (plan.energy_windows + 4) * plan.energy_window_s
    others = {
        "audit": (order.audit, 2.0),
        "memory": (order.memory, 0.4 * plan.memory_sessions),
        "energy": (wants_energy(inputs), energy_s),
        "cold": (order.cold, 0.8 * COLD_SESSIONS),
        "operators": (order.operators, 1.0),
    }
    for kind, (is_wanted, seconds) in others.items():
        steps |= {f"{kind}/{model}": seconds for model in range(1, len(inputs.models) + 1) if is_wanted}
    return steps


def step_words(inputs: BenchInputs, step: str) -> str:
    """A step as people read it: ``latency/2/3`` is "latency of small.onnx, window 3 of 6"."""
    kind, number, *window = step.split("/")
    if not number.isdecimal():
        return "asking who the device is"
    name = shown(inputs.models[int(number) - 1].label)
    return f"{kind} of {name}" + (f", window {window[0]} of {inputs.order.windows}" if window else "")


def wants_energy(inputs: BenchInputs) -> bool:
    """Whether energy is to be measured: asked for, or not asked about on a device with a meter."""
    return inputs.order.energy is not False and inputs.device.meter is not None


def _window_s(order: BenchOrder) -> float:
    """What a window takes at least; a period makes its count take long."""
    workload = order.workload
    periods = order.min_count / (workload.burst if workload.scenario == "burst" else 1)
    return max(order.window_s, periods * workload.period_ns / 1e9)
