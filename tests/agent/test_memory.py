"""Memory by phase, held against models whose weights and activations are known."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from kit.agent import footprint, memory
from kit.agent.work import CancelledError, RefusalError
from kit.agent.worker import environment_of
from kit.errors import DeviceError
from tests import device_kit as kits

MB = 1_000_000
PAGES = 1 * MB  # what else a session touches: library pages, buffers of its own, per-thread counts of pages

needs_a_reset = pytest.mark.skipif(not footprint.reset_high_water(), reason="this kernel cannot reset the mark")


def wide(floats: int) -> bytes:
    """No weights to speak of, and activations of 2 x `floats`: x is expanded, and a function of it is summed."""
    nodes = [
        onnx.helper.make_node("ReduceSum", ["x", "axes"], ["one"], keepdims=1),
        onnx.helper.make_node("Expand", ["one", "shape"], ["many"]),
        onnx.helper.make_node("Sin", ["many"], ["more"]),
        onnx.helper.make_node("ReduceSum", ["more", "axes"], ["sum"], keepdims=1),
        onnx.helper.make_node("Add", ["x", "sum"], ["scores"]),
    ]
    shape = [1, kits.FEATURES]
    constants = {"axes": np.array([1]), "shape": np.array([1, floats])}
    return kits.graph_bytes(nodes, [kits.tensor("x", shape)], [kits.tensor("scores", shape)], constants)


def measured(tmp_path: Path, model: bytes) -> memory.Session:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    return memory.measure_session(path, 1, kits.rows(1))


@needs_a_reset
def test_weights_of_47_mb_are_resident_once_and_read_twice(tmp_path: Path) -> None:
    """While it loads, the file is held too; afterwards the weights, and the 4 MB that its product takes."""
    found = measured(tmp_path, kits.heavy(47 * MB))
    assert found.steady_bytes is not None
    assert found.load_peak_bytes is not None
    assert found.first_run_peak_bytes is not None
    assert 47 * MB < found.steady_bytes < 60 * MB
    assert 94 * MB - PAGES < found.load_peak_bytes < 150 * MB
    assert 47 * MB < found.first_run_peak_bytes < 60 * MB
    assert found.peak_bytes == found.load_peak_bytes
    assert found.arena_bytes is None or 47 * MB < found.arena_bytes < 60 * MB


@needs_a_reset
def test_activations_of_31_mb_show_when_it_runs_and_not_when_it_loads(tmp_path: Path) -> None:
    floats = 31 * MB // 4 // 2
    found, small = measured(tmp_path, wide(floats)), measured(tmp_path, wide(16))
    assert found.load_peak_bytes is not None
    assert found.first_run_peak_bytes is not None
    assert small.first_run_peak_bytes is not None
    assert small.arena_bytes is None or small.arena_bytes < 2 * MB
    assert found.load_peak_bytes < 2 * PAGES
    assert 31 * MB - PAGES < found.first_run_peak_bytes - small.first_run_peak_bytes < 31 * MB + 6 * MB
    assert found.peak_bytes is not None
    assert found.peak_bytes >= found.first_run_peak_bytes
    assert found.arena_bytes is None or found.arena_bytes > 31 * MB


SHARERS = 12 * MB
"""How much a proportional set moves when another process opens the same libraries, or ends."""


@needs_a_reset
@pytest.mark.parametrize(
    ("name", "slack"),
    [("steady_bytes", PAGES), ("first_run_peak_bytes", PAGES), ("steady_proportional_bytes", SHARERS)],
)
def test_memory_grows_by_the_weights_that_are_added(name: str, slack: int, tmp_path: Path) -> None:
    light, heavy = (getattr(measured(tmp_path, kits.heavy(size)), name) for size in (0, 24 * MB))
    if light is not None:  # a kernel before 4.14 tells no proportional set
        assert 24 * MB - slack < heavy - light < 30 * MB + slack


@needs_a_reset
def test_figures_are_above_the_baseline_and_in_their_order(tmp_path: Path) -> None:
    found = measured(tmp_path, kits.linear())
    assert found.baseline_bytes is not None
    assert found.baseline_bytes > 5 * MB
    assert found.peak_bytes is not None
    assert found.steady_bytes is not None
    assert found.peak_bytes >= max(found.load_peak_bytes or 0, found.first_run_peak_bytes or 0)
    assert 0 <= found.steady_bytes <= found.peak_bytes + PAGES
    assert found.peak_bytes < 20 * MB


def worker(tmp_path: Path, model: bytes, *, before: str) -> dict[str, int | None]:
    """What the worker says on a system that is short of something: `before` runs in it first."""
    (tmp_path / "model.onnx").write_bytes(model)
    row = io.BytesIO()
    np.save(row, kits.rows(1))
    code = f"from pathlib import Path\nfrom kit.agent import footprint\n{before}\n"
    code += f"footprint.work({str(tmp_path / 'model.onnx')!r}, 1)"
    environment = environment_of(memory._ENVIRONMENT)
    done = subprocess.run(
        [sys.executable, "-c", code], input=row.getvalue(), capture_output=True, env=environment, timeout=60, check=True
    )
    return {name: value for line in done.stdout.splitlines() for name, value in json.loads(line).items()}


NO_RESET = "footprint._CLEAR_REFS = Path('/proc/self/nothing/clear_refs')"


def test_where_the_mark_cannot_be_reset_only_what_exceeds_all_before_is_told(tmp_path: Path) -> None:
    found = worker(tmp_path, kits.heavy(47 * MB), before=NO_RESET)
    assert found["load_peak_bytes"] is found["first_run_peak_bytes"] is None
    assert found["peak_bytes"] is not None
    assert 94 * MB - PAGES < found["peak_bytes"] < 150 * MB
    fields, parts = memory.told([memory.Session(**found)])
    assert "cannot be reset here" in str(fields["method"])
    assert "load_peak_bytes" not in fields["more"]  # type: ignore[operator]
    assert [part.tolist() for part in parts[:2]] == [[found["peak_bytes"]], [found["steady_bytes"]]]


def test_a_peak_that_hides_below_an_earlier_one_is_none_and_so_is_the_method(tmp_path: Path) -> None:
    """The mark still stands where the 200 MB put it, which the model does not reach."""
    hog = f"hog = bytearray({200 * MB}); del hog\n"
    found = worker(tmp_path, kits.linear(), before=hog + NO_RESET)
    assert found["peak_bytes"] is None
    assert memory.told([memory.Session(**found)]) == ({"method": None}, [])


def test_a_system_without_proportional_sets_has_none(tmp_path: Path) -> None:
    found = worker(tmp_path, kits.linear(), before="footprint._ROLLUP = Path('/proc/self/no_such_file')")
    assert found["steady_proportional_bytes"] is None
    method = str(memory.told([memory.Session(**found)])[0]["method"])
    assert "proportional: not told here" in method


def test_a_runtime_whose_profiler_tells_no_arena_has_none(tmp_path: Path) -> None:
    """Storage for the profile is missing, as it may be; an older runtime's profile lacks the figure likewise."""
    found = worker(tmp_path, kits.linear(), before="import tempfile; tempfile.tempdir = '/proc/self/no_such_folder'")
    assert found["arena_bytes"] is None
    assert found["steady_bytes"] is not None
    assert "arena: not told here" in str(memory.told([memory.Session(**found)])[0]["method"])


def test_a_model_that_takes_long_is_not_run_again_for_its_arena(tmp_path: Path) -> None:
    found = worker(tmp_path, kits.linear(), before="footprint.ARENA_PATIENCE_S = 0")
    assert found["arena_bytes"] is None


def test_figures_that_one_session_lacks_are_left_out_of_all() -> None:
    whole = memory.Session(1000, 50, 40, 50, 45, 30, 60)
    partly = dataclasses.replace(whole, arena_bytes=None, peak_bytes=52)
    fields, parts = memory.told([whole, partly])
    assert fields["more"] == ["load_peak_bytes", "first_run_peak_bytes", "steady_proportional_bytes"]
    assert [part.tolist() for part in parts] == [[50, 52], [40, 40], [50, 50], [45, 45], [30, 30]]
    assert all(part.dtype == np.int64 for part in parts)
    assert fields["baseline_bytes"] == 1000


def test_a_worker_that_ends_after_its_figures_has_told_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arena's session may be the one too many: what was measured before it stands."""
    end = "import os, tempfile\ntempfile.TemporaryDirectory = lambda: os.kill(os.getpid(), 9)\n"
    (tmp_path / "sitecustomize.py").write_text(end)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = measured(tmp_path, kits.linear())
    assert found.peak_bytes is not None
    assert found.steady_bytes is not None
    assert found.arena_bytes is None


def workers() -> list[int]:
    """Processes of ours that measure memory and have not ended."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "kit.agent.footprint" in child.cmdline():
                found.append(child.pid)
    return found


def test_a_worker_can_be_ended(tmp_path: Path) -> None:
    def stop() -> None:
        raise CancelledError("cancelled by the host")

    with pytest.raises(CancelledError):
        memory.measure_session(tmp_path / "never read.onnx", 1, np.zeros((1, 2), np.float32), stop)


def test_the_handwritten_model_is_valid_onnx() -> None:
    model = onnx.load_from_string(footprint.one_node_model())
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(DeviceError, match="footprint worker failed"):
        memory.measure_session(tmp_path / "bad.onnx", 1, np.zeros((1, 2), np.float32))


def test_a_worker_that_the_system_ends_ran_out_of_memory(tmp_path: Path) -> None:
    def kill() -> None:
        for process_id in workers():
            os.kill(process_id, signal.SIGKILL)

    (tmp_path / "m.onnx").write_bytes(kits.linear())
    with pytest.raises(RefusalError, match="out of memory") as caught:
        memory.measure_session(tmp_path / "m.onnx", 1, kits.rows(1), kill)
    assert caught.value.reason == "memory"


def test_where_memory_runs_out_the_worker_goes_before_the_agent(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(kits.linear())
    scores = set()

    def look() -> None:
        for process_id in workers():
            with contextlib.suppress(OSError):
                scores.add(int(Path(f"/proc/{process_id}/oom_score_adj").read_text()))

    for _ in range(5):  # a look may come before it has said so
        if 1000 not in scores:
            memory.measure_session(tmp_path / "m.onnx", 1, kits.rows(1), look)
    assert 1000 in scores
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000
