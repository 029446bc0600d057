"""The calibration benchmark: its network and images are the same every time, its cells run, and it judges rightly."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.calibration import PEAK_GOAL_MB, TOLERANCES, Cell, _cell, _deviation, _own, _pair
from benchmarks.mobilenet import SIDE, images, mobilenet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mobilenet") / "mobilenet.onnx"
    onnx.save(mobilenet(), path)
    return path


def test_the_network_is_of_mobilenets_size_and_the_same_every_time() -> None:
    one, other = mobilenet(), mobilenet()
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    weights = sum(int(np.prod(tensor.dims)) for tensor in one.graph.initializer)
    assert 3_400_000 < weights < 3_600_000
    assert sum(node.op_type == "Conv" for node in one.graph.node) == 52
    onnx.checker.check_model(one, full_check=True)


def test_images_are_photographs_and_the_same_every_time() -> None:
    first = list(images(7))
    assert all(np.array_equal(a, b) for a, b in zip(first, images(7), strict=True))
    assert all(image.shape == (1, 3, SIDE, SIDE) and image.dtype == np.float32 for image in first)
    assert len({image.tobytes() for image in first}) == 7
    assert all(image.std() > 0.1 for image in first)


def test_cells_of_both_sides_find_the_same_ranges(model: Path) -> None:
    ours, peer = (_cell(side, "minmax", 2, model) for side in ("ours", "peer"))
    worst, _, common = _deviation(ours.ranges["minmax"], peer.ranges["minmax"], ours.ranges["minmax"])
    assert common == 101
    assert worst <= TOLERANCES["minmax"]
    for cell in (ours, peer):
        assert cell.seconds
        assert cell.peak_mb
        assert 50 < cell.peak_mb < PEAK_GOAL_MB
        assert cell.cpu_s > 0


def test_a_side_that_runs_out_of_memory_is_said_to(model: Path) -> None:
    cell = _cell("peer", "percentile", 25, model, limit_gb=1.5)
    assert cell == Cell(note="peer out of memory at 1.5 GB")


def test_another_failure_stops_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="failed"):
        _cell("ours", "minmax", 1, tmp_path / "nowhere.onnx")


def test_what_ran_out_of_memory_holds_no_goal_of_time() -> None:
    cells = {("ours", "entropy", 200): Cell(9.0, 8.0, 360.0), ("peer", "entropy", 200): Cell(note="peer out of memory")}
    time, peak = _pair(cells, "entropy", 200, (50, 200, 800))
    assert not time.holds
    assert time.note == peak.note == "peer out of memory"
    assert peak.ours == 360.0


@pytest.mark.parametrize(
    ("most_mb", "growth_holds", "peak_holds"), [(385, True, True), (386, False, True), (401, False, False)]
)
def test_growth_and_peak_are_judged(most_mb: float, growth_holds: bool, peak_holds: bool) -> None:
    peaks = {50: 350.0, 200: 350.0, 800: float(most_mb)}
    rows = list(_own({("ours", "all", n): Cell(1.0, 1.0, mb) for n, mb in peaks.items()}, "all", (50, 200, 800)))
    assert rows[-1].holds is growth_holds
    assert all(row.holds for row in rows[:-1]) is peak_holds


def test_deviation_is_of_the_largest_magnitude() -> None:
    full = {"a": [-4.0, 2.0], "b": [0.0, 1.0]}
    theirs = {"a": [-4.0, 1.9], "b": [0.0, 1.02], "c": [0.0, 9.0]}
    worst, tensor, common = _deviation(full, theirs, full)
    assert (tensor, common) == ("a", 2)
    assert worst == pytest.approx(2.5)
