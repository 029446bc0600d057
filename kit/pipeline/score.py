"""A dataset's rows through any device: how many it gets right, how long one takes, and what the line cost."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kit.device import Device, open_device
from kit.device.base import LatencySamples
from kit.device.mlperf.inference import BoardCounts
from kit.errors import DeviceError, LinkError, MeasurementError, UsageError
from kit.judge.rows import Outcomes
from kit.measure.obtained import obtained_on
from kit.measure.predictions import predict_part
from kit.pipeline.checks import check_is_onnx
from kit.pipeline.watcher import waiting_for
from kit.records import DatasetRecord, DeviceRecord, Obtained, PredictionRecord
from kit.spec.types import Dataset, DatasetPart, DeviceSpec

CONFIDENCE = 0.95
ICC_FLOOR = 0.05
"""Least correlation assumed within a cluster of rows, as profiles have it."""

LATENCY_SAMPLES = 50
NOT_REAL = "its processor is emulated, and the times of that are no latency"
STEPS = ("deploy", "predict", "latency", "window")


class Watcher(Protocol):
    """Told which step runs and how far it is."""

    def start(self, step: str) -> None:
        """A step begins."""
        ...

    def update(self, done: int, total: int) -> None:
        """So much of it is done."""
        ...

    def finish(self, step: str) -> None:
        """It has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Right of `rows`; bounds are the two ends of an interval at `confidence`, and `by_class` is (rows, right) each."""

    rows: int
    right: int
    lower: float
    upper: float
    confidence: float
    clusters: int
    by_class: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What `score` found. Latency and its window are None where `no_latency` says why; board counts, on agents.

    window_s is how long `window_inferences` back to back took on the device's clock; `predict_s`, all rows and the
    line on the host's.
    """

    device: DeviceRecord
    model: str
    dataset: str
    dataset_rows: int
    accuracy: Accuracy
    latency: LatencySamples | None
    no_latency: str
    window_s: float | None
    window_inferences: int
    predict_s: float
    board: BoardCounts | None
    read_back: str | None
    obtained: Obtained
    timing_obtained: Obtained


def expected_seconds(spec: DeviceSpec, rows: int, window_s: float) -> dict[str, float]:
    """What each step is thought to take, s; only their proportions matter."""
    row_s = 0.3 if spec.board else 0.002
    return dict(zip(STEPS, (0.0 if spec.board else 1.0, rows * row_s, 5 * row_s + 2.0, window_s), strict=True))


def score(
    spec: DeviceSpec, dataset: Dataset, model: Path | None, watcher: Watcher, *, limit: int | None, window_s: float
) -> Score:
    """Predict the dataset's test rows on the device, time it, and count what is right.

    `limit` takes that many rows, evenly spread; `window_s` is how long it then runs back to back, 0 for not at all.
    Raises UsageError for a model where the board has its own or none where an agent needs one, and DeviceError,
    LinkError or MeasurementError if the rows cannot be predicted.
    """
    if (model is None) is (spec.board is None):
        what = (
            "MODEL is missing" if model is None else f"{spec.name} runs the model in its firmware, and takes no MODEL"
        )
        raise UsageError(what, next_step="edgeproof score [MODEL] --device NAME --data DATA: MODEL only for an agent")
    if model is not None:
        check_is_onnx(model)
    part = _some_rows(dataset.test, limit)
    watcher.start(waiting_for(spec))
    with closing(open_device(spec)) as device:
        digest = _model(device, dataset, model, watcher)
        watcher.start("predict")
        started_s = time.monotonic()
        predicted = predict_part(
            device, digest, part, output=dataset.output_name, exact=False, spec=spec, progress=watcher.update,
            reading=dataset.output,
        )  # fmt: skip
        predict_s = time.monotonic() - started_s
        watcher.finish("predict")
        latency, no_latency = None, NOT_REAL
        if spec.timing_is_real:
            latency, no_latency = _latency(device, digest, part.inputs, watcher)
        window = _window(device, digest, part.inputs, window_s if latency else 0.0, watcher)
        who, counts = device.identify(), getattr(device, "counts", lambda: None)()
    return Score(
        device=who,
        model=digest,
        dataset=dataset.name,
        dataset_rows=dataset.test.record.rows,
        accuracy=_accuracy(_in_order(predicted, spec, part.record), part.record),
        latency=latency,
        no_latency=no_latency,
        window_s=window[0],
        window_inferences=window[1],
        predict_s=predict_s,
        board=counts,
        read_back=spec.board.read_back if spec.board else None,
        obtained=predicted.obtained,
        timing_obtained=obtained_on(who.emulated, "clock", "speed", "frequency"),
    )


def _model(device: Device, dataset: Dataset, model: Path | None, watcher: Watcher) -> str:
    """Name of what the device runs: its digest once it is deployed, or what the board calls it."""
    if model is None:
        return str(getattr(device, "model", ""))
    from kit.model.convert import reference_of

    watcher.start("deploy")
    digest = device.deploy(
        reference_of(model, rows=dataset.test.inputs, output=dataset.output_name).data, progress=watcher.update
    )
    watcher.finish("deploy")
    return digest


def _latency(
    device: Device, digest: str, inputs: NDArray[np.generic], watcher: Watcher
) -> tuple[LatencySamples | None, str]:
    """Samples, or why there are none."""
    watcher.start("latency")
    try:
        samples = device.time_inferences(digest, inputs, count=LATENCY_SAMPLES, min_s=0.0, progress=watcher.update)
    except LinkError:
        raise
    except (DeviceError, MeasurementError) as error:
        return None, f"{error.what}: {error.next_step}" if error.next_step else error.what
    watcher.finish("latency")
    return samples, ""


def _window(
    device: Device, digest: str, inputs: NDArray[np.generic], window_s: float, watcher: Watcher
) -> tuple[float | None, int]:
    """Length in s on the device's clock, and count, of inferences back to back."""
    watcher.start("window")
    if not window_s:
        return None, 0
    try:
        busy = device.run_busy(digest, inputs[:1], duration_s=window_s)
    except LinkError:
        raise
    except (DeviceError, MeasurementError):
        return None, 0
    watcher.finish("window")
    return (busy.end_ns - busy.start_ns) / 1e9, busy.inferences


def _some_rows(part: DatasetPart, limit: int | None) -> DatasetPart:
    """At most `limit` rows, evenly spread, since files are often sorted by class."""
    rows = part.record.rows
    if limit is None or limit >= rows:
        return part
    chosen = np.linspace(0, rows - 1, limit).astype(np.intp)
    record = replace(
        part.record, rows=limit, labels=part.record.labels[chosen], cluster=part.record.cluster[chosen], columns={}
    )
    return replace(part, inputs=part.inputs[chosen], record=record)


def _in_order(predicted: PredictionRecord, spec: DeviceSpec, record: DatasetRecord) -> NDArray[np.int64]:
    """Decisions [rows] as classes of the dataset, whatever the order in which the board prints them."""
    if spec.board is None or not spec.board.output_order:
        return predicted.decisions
    from kit.device.mlperf.results import in_order

    where = spec.path or f"device {spec.name}"
    scores = in_order(predicted.scores, spec.board.output_order, record.classes, where)
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _accuracy(decisions: NDArray[np.int64], record: DatasetRecord) -> Accuracy:
    """Share right, with the score interval (Wilson 1927) at effective counts, Student t over clusters."""
    right = decisions == record.labels
    none = np.zeros_like(right)
    sample = Outcomes(record.cluster, right, right, none, ICC_FLOOR).accuracy(right)
    lower, upper = sample.counts.bounds(1 - (1 - CONFIDENCE) / 2)
    by_class = [
        (name, int((record.labels == index).sum()), int(right[record.labels == index].sum()))
        for index, name in enumerate(record.classes)
    ]
    return Accuracy(
        len(right),
        int(right.sum()),
        lower,
        upper,
        CONFIDENCE,
        sample.clusters,
        tuple(each for each in by_class if each[1]),
    )
