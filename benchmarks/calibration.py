"""Static int8 of a MobileNetV2-sized network at 224 x 224: peak memory, time and thresholds beside onnxruntime's.

Both do the complete job on the same photographs, made one by one as they are asked for: a float model file in, an int8
model out. The peer is `quantize_static` with the settings it comes with. Every figure is of a child process of its own,
the two sides in turn; memory is the child's high-water mark. The peer's address space is limited: where it would take
the machine down, it ends, and the row says so.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from benchmarks.mobilenet import Image, images, mobilenet
from benchmarks.table import Row

LIMIT_GB = 16
"""Address space of a child: of what a machine with 24 GB can spare."""

OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Failed to allocate")
PEER = "quantize_static"
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""Ours, and the peer's name for the same."""

TIME_GOALS = {"minmax": 1.0, "percentile": 1 / 3, "entropy": 1 / 3}
"""Ours over the peer's, at the middle number of samples."""

PEAK_GOAL_MB, GROWTH_GOAL = 400.0, 1.1

TOLERANCES = {"minmax": 0.001, "moving-average": 0.001, "percentile": 0.1, "entropy-128": 0.001, "entropy-2048": 0.2}
"""How far a threshold may be from the reference's, in percent of the largest magnitude that the tensor had."""

CLOSE_ENOUGH = 3
"""Runs of each side, of which the fastest counts, where both take seconds."""

Thresholds = dict[str, list[float]]


@dataclass
class Cell:
    """One complete job in a child: seconds, processor seconds, peak, and the ranges it found; or why it failed."""

    seconds: float | None = None
    cpu_s: float = 0.0
    peak_mb: float | None = None
    ranges: dict[str, Thresholds] = field(default_factory=dict)
    note: str = ""


def run(*, quick: bool) -> list[Row]:
    """Rows of time and peak memory by method and number of samples, of growth, and of agreement."""
    counts = (10, 25, 50) if quick else (50, 200, 800)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "mobilenet.onnx"
        onnx.save(mobilenet(), model)
        cells = _all_cells(model, counts)
        rows = [row for method in METHODS for count in counts for row in _pair(cells, method, count, counts)]
        rows += [row for method in (*METHODS, "all") for row in _own(cells, method, counts)]
        return [*rows, *_agreement(cells, model, counts[0])]


def _all_cells(model: Path, counts: tuple[int, ...]) -> dict[tuple[str, str, int], Cell]:
    """Both sides in turn; several times where a run is short, and the fastest counts."""
    cells: dict[tuple[str, str, int], Cell] = {}
    for method in (*METHODS, "all"):
        for count in counts:
            repeats = CLOSE_ENOUGH if method == "minmax" and count < counts[-1] else 1
            for _ in range(repeats):
                for side in ("ours", "peer") if method in METHODS else ("ours",):
                    cell, best = _cell(side, method, count, model), cells.get((side, method, count))
                    if best is None or (cell.seconds or 0) < (best.seconds or 0):
                        cells[side, method, count] = cell
    return cells


def _cell(side: str, method: str, count: int, model: Path, limit_gb: float = LIMIT_GB) -> Cell:
    """The job in a child of so much address space."""
    arguments = (side, method, str(count), str(model), str(limit_gb))
    command = [sys.executable, "-m", "benchmarks.calibration", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return Cell(**json.loads(done.stdout.splitlines()[-1]))
    if any(words in done.stderr for words in OUT_OF_MEMORY):
        return Cell(note=f"{side} out of memory at {limit_gb:g} GB")
    raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _pair(cells: dict[tuple[str, str, int], Cell], method: str, count: int, counts: tuple[int, ...]) -> Iterator[Row]:
    ours, peer = cells["ours", method, count], cells["peer", method, count]
    goal = TIME_GOALS[method] if count == counts[1] else None
    name = f"{method}, {count} samples"
    cpu = f"processor time {ours.cpu_s:.1f} s and {peer.cpu_s:.1f} s"
    yield Row(f"{name}, time", ours.seconds, PEER, peer.seconds, "s", goal, note=peer.note or cpu)
    peak_goal = PEAK_GOAL_MB if count == counts[-1] else None
    yield Row(f"{name}, peak", ours.peak_mb, PEER, peer.peak_mb, "MB", None, peak_goal, note=peer.note)


def _own(cells: dict[tuple[str, str, int], Cell], method: str, counts: tuple[int, ...]) -> Iterator[Row]:
    """Growth of our peak; and of all methods at once, the figures."""
    if method == "all":
        for count in counts:
            cell, goal = cells["ours", method, count], PEAK_GOAL_MB if count == counts[-1] else None
            yield Row(f"all at once, {count} samples, time", cell.seconds, "", None, "s", note="five methods, one pass")
            yield Row(f"all at once, {count} samples, peak", cell.peak_mb, "", None, "MB", None, goal)
    least, most = (cells["ours", method, count].peak_mb for count in (counts[0], counts[-1]))
    growth = most / least if least and most else None
    yield Row(f"{method}, peak at {counts[-1]} over {counts[0]}", growth, "", None, "x", None, GROWTH_GOAL)


def _agreement(cells: dict[tuple[str, str, int], Cell], model: Path, count: int) -> Iterator[Row]:
    """The largest deviation of a threshold from the reference's, collected on all samples at once."""
    ours = cells["ours", "all", count].ranges
    references = {
        "minmax": cells["peer", "minmax", count],
        "moving-average": _cell("peer", "moving-average", count, model),
        "percentile": cells["peer", "percentile", count],
        "entropy-128": cells["peer", "entropy", count],
        "entropy-2048": _cell("reference", "entropy-2048", count, model),
    }
    for name, cell in references.items():
        theirs = cell.ranges[next(iter(cell.ranges))]
        worst, tensor, common = _deviation(ours[name], theirs, ours["minmax"])
        note = f"% of the largest magnitude, worst of {common} tensors: {tensor}"
        what = "onnxruntime's calibrator" if name == "entropy-2048" else PEER
        yield Row(
            f"{name} thresholds, {count} samples", worst, "", None, "%", None, TOLERANCES[name], note=f"{note}; {what}"
        )


def _deviation(ours: Thresholds, theirs: Thresholds, full: Thresholds) -> tuple[float, str, int]:
    """The largest, in percent of the tensor's largest magnitude; its tensor; and how many were compared."""
    found = {
        name: max(abs(a - b) for a, b in zip(ours[name], theirs[name], strict=True)) / max(map(abs, full[name]))
        for name in ours.keys() & theirs.keys()
    }
    worst = max(sorted(found), key=found.__getitem__)
    return 100 * found[worst], worst, len(found)


class Reader:
    """The photographs as onnxruntime's quantizer asks for them."""

    def __init__(self, count: int) -> None:
        self._images = images(count)

    def get_next(self) -> dict[str, Image] | None:
        """One image, None at the end."""
        image = next(self._images, None)
        return None if image is None else {"image": image}


def ours(method: str, count: int, model: Path, folder: Path) -> dict[str, Thresholds]:
    """File in, int8 file out; for all methods, the int8 file of the first."""
    from kit.model.calibrate import Method, calibrate
    from kit.model.load import load_onnx
    from kit.model.quantize.prepare import prepare
    from kit.model.quantize.static_int8 import calibrated_tensors, make_static_int8
    from kit.spec.recipe import parse_recipe

    methods = {name: Method(name) for name in ("minmax", "moving-average", "percentile", "mse")}
    methods |= {"entropy-2048": Method("entropy"), "entropy-128": Method("entropy", bins=128)}
    if method != "all":
        methods = {method: methods["entropy-2048" if method == "entropy" else method]}
    prepared = prepare(load_onnx(model))
    feeds = ({"image": image} for image in images(count))
    found = calibrate(prepared.proto, calibrated_tensors(prepared), feeds, list(methods.values()), total_rows=count)
    for name, each in list(methods.items())[:1]:
        quantized = make_static_int8(prepared, parse_recipe("int8-per-tensor"), frozenset(), found[each])
        onnx.save(quantized.proto, folder / f"{name}.onnx")
    return {name: {tensor: list(pair) for tensor, pair in found[each].items()} for name, each in methods.items()}


def peer(method: str, count: int, model: Path, folder: Path) -> dict[str, Thresholds]:
    """`quantize_static` as it comes; its thresholds are in the cache that it writes."""
    from onnxruntime.quantization import CalibrationMethod, quantize_static

    averaged = method == "moving-average"
    chosen = CalibrationMethod.MinMax if averaged else CalibrationMethod[METHODS[method]]
    quantize_static(
        model,
        folder / "int8.onnx",
        Reader(count),
        calibrate_method=chosen,
        extra_options={"CalibMovingAverage": True} if averaged else {},
        calibration_cache_path=folder / "ranges.json",
    )
    found = json.loads((folder / "ranges.json").read_text())["data"]
    return {method: {name: [_number(each["lowest"]), _number(each["highest"])] for name, each in found.items()}}


def reference(method: str, count: int, model: Path, folder: Path) -> dict[str, Thresholds]:
    """onnxruntime's entropy calibrator with as many bins as ours: `quantize_static` has no option for them."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    options = {"num_bins": int(method.removeprefix("entropy-"))}
    calibrator = create_calibrator(
        model, None, str(folder / "a.onnx"), CalibrationMethod.Entropy, extra_options=options
    )
    calibrator.collect_data(Reader(count))
    found = calibrator.compute_data()
    return {method: {name: [float(each.lowest), float(each.highest)] for name, each in found.items()}}


def _number(value: Any) -> float:
    """A scalar as the cache writes it: a number, or an array of one."""
    while isinstance(value, dict | list):
        value = value["data"] if isinstance(value, dict) else value[0]
    return float(value)


def _peak_mb() -> float:
    """High-water mark of this process's memory, MB."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def child(side: str, method: str, count: str, model: str, limit_gb: str = str(LIMIT_GB)) -> None:
    """One cell, printed as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (round(float(limit_gb) * 1e9), round(float(limit_gb) * 1e9)))
    job = {"ours": ours, "peer": peer, "reference": reference}[side]
    with tempfile.TemporaryDirectory() as folder:
        started_s = time.perf_counter()
        ranges = job(method, int(count), Path(model), Path(folder))
        seconds = time.perf_counter() - started_s
    cpu_s = time.process_time()
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mb": _peak_mb(), "ranges": ranges}))


if __name__ == "__main__":
    child(*sys.argv[1:])
