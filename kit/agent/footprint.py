"""The memory worker: ``python -m kit.agent.footprint MODEL THREADS``, one model's memory by phase in this process.

One row arrives on standard input as .npy; the answer is two lines of JSON: figures in bytes, null where this system
does not tell; then the runtime's arena, which comes last since it needs a second session.
"""

import contextlib
import gc
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUNS = 20
"""Runs after the first, before memory counts as steady."""

PROFILED_RUNS = 2
"""The second allocates by the pattern that the runtime learnt from the first."""

ARENA_PATIENCE_S = 60.0
"""A model that took longer than this for all other figures is not run again for its arena."""

_PROVIDERS = ["CPUExecutionProvider"]
_CLEAR_REFS, _STATUS, _ROLLUP = (Path("/proc/self") / name for name in ("clear_refs", "status", "smaps_rollup"))
Figures = dict[str, int | None]


def resident_bytes() -> int | None:
    """What of this process is in memory (proc(5), VmRSS)."""
    return _line_bytes(_STATUS, "VmRSS:")


def high_water_bytes() -> int | None:
    """The most that `resident_bytes` was since the mark was reset (proc(5), VmHWM)."""
    return _line_bytes(_STATUS, "VmHWM:")


def proportional_bytes() -> int | None:
    """As `resident_bytes`, each shared page divided by how many share it (proc(5), Pss; Linux 4.14)."""
    return _line_bytes(_ROLLUP, "Pss:")


def reset_high_water() -> bool:
    """Set the high-water mark to what is resident now (proc(5), clear_refs, value 5); whether this kernel can."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def one_node_model() -> bytes:
    """An ONNX model of a single Identity node on float [1], written by hand: the agent has no onnx package.

    Field numbers from onnx.proto: ModelProto ir_version 1, graph 7, opset_import 8; GraphProto node 1, name 2,
    input 11, output 12; NodeProto input 1, output 2, op_type 4; ValueInfoProto name 1, type 2.
    """

    def nested(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    shape = nested(2, nested(1, b"\x08\x01"))
    value_type = nested(2, nested(1, b"\x08\x01" + shape))
    node = nested(1, b"x") + nested(2, b"y") + nested(4, b"Identity")
    graph = nested(1, node) + nested(2, b"g") + nested(11, nested(1, b"x") + value_type)
    return b"\x08\x08" + nested(7, graph + nested(12, nested(1, b"y") + value_type)) + nested(8, b"\x10\x0d")


def work(path: str, threads: int) -> None:
    """Measure the model at `path`; see the module."""
    start_s = time.monotonic()
    with contextlib.suppress(OSError):  # where memory runs out, this process ends and not the agent, which tells it
        Path("/proc/self/oom_score_adj").write_text("1000")
    row = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    _run(_session(one_node_model(), threads), np.zeros(1, np.float32), 1)
    gc.collect()
    _say(_phases(path, threads, row))
    gc.collect()
    is_patient = time.monotonic() - start_s < ARENA_PATIENCE_S
    _say({"arena_bytes": _arena_bytes(path, threads, row) if is_patient else None})


def _phases(path: str, threads: int, row: NDArray[np.generic]) -> Figures:
    """Loading, first run and steady state, each less the baseline; without a reset, only what exceeds all before."""
    resident, proportional, before = resident_bytes(), proportional_bytes(), high_water_bytes()
    can_reset = reset_high_water()
    session = _session(path, threads)
    load_peak = high_water_bytes() if can_reset else None
    can_reset = can_reset and reset_high_water()
    _run(session, row, 1)
    first_run_peak = high_water_bytes() if can_reset else None
    can_reset = can_reset and reset_high_water()
    _run(session, row, RUNS)
    steady, last = resident_bytes(), high_water_bytes()  # in this order, so that the mark is never the lower one
    marks = [load_peak, first_run_peak, last] if can_reset else [last if _exceeds(last, before) else None]
    return {
        "baseline_bytes": resident,
        "peak_bytes": _above(None if None in marks else max(mark for mark in marks if mark is not None), resident),
        "steady_bytes": _above(steady, resident),
        "load_peak_bytes": _above(load_peak, resident),
        "first_run_peak_bytes": _above(first_run_peak, resident),
        "steady_proportional_bytes": _above(proportional_bytes(), proportional),
    }


def _arena_bytes(path: str, threads: int, row: NDArray[np.generic]) -> int | None:
    """The most that the CPU arena held, as the runtime's profiler tells it; None for a runtime that does not."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            session = _session(path, threads, profile=f"{folder}/profile")
            _run(session, row, PROFILED_RUNS)
            events = json.loads(Path(session.end_profiling()).read_bytes())
    except Exception:  # the runtime raises its own C++ exception types; memory or storage may have run out
        return None
    held = [event.get("args", {}).get("mem_arena_held") for event in events]
    return max((int(each) for each in held if each is not None), default=None)


def _session(model: str | bytes, threads: int, profile: str = "") -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return ort.InferenceSession(model, options, providers=_PROVIDERS)


def _run(session: Any, row: NDArray[np.generic], runs: int) -> None:
    feed = {session.get_inputs()[0].name: row}
    for _ in range(runs):
        session.run(None, feed)


def _exceeds(mark: int | None, before: int | None) -> bool:
    return mark is not None and before is not None and mark > before


def _above(value: int | None, baseline: int | None) -> int | None:
    return None if value is None or baseline is None else max(0, value - baseline)


def _line_bytes(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


def _say(figures: Figures) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
