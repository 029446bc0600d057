"""A case of the search benchmark: a float model, rows to select on and other rows to confirm on, and what must hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from examples.bundle import Part, write_dataset, write_npz

Rows = dict[str, npt.NDArray[Any]]
"""By input name: [rows, *shape]."""
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

MAX_DROP = 0.005
"""Share of rows that may be lost overall: the limit of the measurements that this benchmark repeats."""
MAX_SLICE_DROP = 0.03
"""Share of a slice's rows that may be lost."""
MIN_SLICE_ROWS = 50
"""In either half: with fewer, one row is more than the half of what a slice may lose."""


@dataclass(frozen=True)
class Case:
    """`labels` int64 [rows] index the classes; `slices` are masks [rows] by ``column=value``; `selection` [rows]."""

    name: str
    folder: Path
    model: bytes = field(repr=False)
    feeds: Rows = field(repr=False)
    labels: Labels = field(repr=False)
    slices: dict[str, Mask] = field(repr=False)
    selection: Mask = field(repr=False)
    calibration: Rows = field(repr=False)

    def score(self, model: bytes) -> npt.NDArray[np.float32]:
        """Scores of every row, float32 [rows, classes], in exact integer arithmetic: what ARM and VNNI compute."""
        return run(session(model, exact=True), self.feeds)


@dataclass(frozen=True)
class Losses:
    """Shares of rows lost against the float model, on some rows; a slice is named ``column=value``."""

    overall: float
    slices: dict[str, float]

    @property
    def worst(self) -> tuple[str, float]:
        """The slice that loses most."""
        return max(self.slices.items(), key=lambda each: each[1])

    @property
    def hold(self) -> bool:
        """Whether all of it is within the limits; what a float's rounding makes of an equal is none of it."""
        return self.overall <= MAX_DROP + 1e-9 and self.worst[1] <= MAX_SLICE_DROP + 1e-9


def losses(case: Case, reference: Labels, decisions: Labels, rows: Mask) -> Losses:
    """What `decisions` [rows] lose against those of the float model, on `rows`."""
    lost = (reference == case.labels).astype(np.float64) - (decisions == case.labels)
    return Losses(lost[rows].mean(), {name: lost[rows & mask].mean() for name, mask in case.slices.items()})


def session(model: bytes, *, exact: bool) -> Any:
    """An onnxruntime session on one thread; `exact` is its option for int8 sums without 16-bit saturation on x86."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1" if exact else "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: Any, feeds: Rows) -> npt.NDArray[np.float32]:
    """The first output for every row, in batches of 256."""
    count = len(next(iter(feeds.values())))
    parts = [
        session.run(None, {name: rows[start : start + 256] for name, rows in feeds.items()})[0]
        for start in range(0, count, 256)
    ]
    return np.concatenate(parts)


def write_case(
    folder: Path,
    *,
    model: onnx.ModelProto,
    feeds: Rows,
    classes: tuple[str, ...],
    labels: Labels,
    slices: Mapping[str, npt.NDArray[Any]],
    cluster: npt.NDArray[np.int64],
    selection: Mask,
    calibration: Mapping[str, npt.NDArray[Any]],
    source: str,
    input_table: Mapping[str, Any] | None = None,
) -> Case:
    """Write `model.onnx`, the parts and, where the model has one input, a manifest that `edgeproof` takes.

    `slices` are columns of the names of each row's slice; those with few rows in either half are left out.
    `calibration` has the inputs and, for a manifest, the other columns too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(data)
    half = np.where(selection, "selection", "confirmation")
    columns = {**feeds, "label": np.array(classes)[labels], "cluster": cluster, "half": half, **slices}
    if input_table is None:
        write_npz(folder / "rows.npz", columns)
        write_npz(folder / "calibration.npz", dict(calibration))
    else:
        parts = [Part("test", "rows.npz", columns), Part("calibration", "calibration.npz", calibration)]
        tables = {"dataset": _dataset_table(folder.name, classes, tuple(slices), source), "input": _input(input_table)}
        write_dataset(folder, folder.name, tables, parts)
    masks = {f"{column}={value}": values == value for column, values in slices.items() for value in np.unique(values)}
    enough = {
        name: mask
        for name, mask in masks.items()
        if min(np.count_nonzero(mask & selection), np.count_nonzero(mask & ~selection)) >= MIN_SLICE_ROWS
    }
    return Case(
        folder.name, folder, data, feeds, labels, enough, selection, {each: calibration[each] for each in feeds}
    )


def _dataset_table(name: str, classes: tuple[str, ...], slices: tuple[str, ...], source: str) -> dict[str, Any]:
    return {
        "name": name,
        "source": source,
        "task": "classification",
        "classes": list(classes),
        "label": "label",
        "cluster": "cluster",
        "slices": list(slices),
    }


def _input(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"array": "x", "dtype": "float32", **table}


def hand_over(case: Case, folder: Path) -> Path:
    """What a peer's script is given: its model, the rows to select on, and what must hold there.

    Writes `model.onnx`, `rows.npz` and `task.json` into `folder`, which is returned. In `rows.npz`, ``calibrate:NAME``
    and ``select:NAME`` are the inputs, `labels` int64 [rows], `reference` bool [rows] whether the float model is right
    and `slices` bool [slices, rows].
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model)
    rows = case.selection
    selected = {name: values[rows] for name, values in case.feeds.items()}
    reference = run(session(case.model, exact=True), selected).argmax(axis=1) == case.labels[rows]
    arrays = {f"calibrate:{name}": values for name, values in case.calibration.items()}
    arrays |= {f"select:{name}": values for name, values in selected.items()}
    masks = np.stack([mask[rows] for mask in case.slices.values()])
    arrays |= {"labels": case.labels[rows], "reference": reference, "slices": masks}
    write_npz(folder / "rows.npz", arrays)
    limits = {"max_drop": MAX_DROP, "max_slice_drop": MAX_SLICE_DROP}
    (folder / "task.json").write_text(json.dumps(limits), encoding="utf-8")
    return folder
