"""Memory that a model adds to a process, in a fresh process a session: ``python -m kit.agent.memory MODEL THREADS``.

One row arrives on standard input as .npy, from the agent itself; the answer is one line of JSON.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kit
from kit.agent.work import RefusalError
from kit.errors import DeviceError

METHOD = (
    "a fresh process a session; baseline: VmRSS after a one-node model was loaded, run and released; "
    "then the high-water mark is reset (/proc/self/clear_refs), the model loaded from file and run 21 times; "
    "peak: VmHWM, steady: VmRSS, both less the baseline and with the library pages that the model touches; "
    "MALLOC_MMAP_THRESHOLD_=65536, MALLOC_ARENA_MAX=1"
)
_RUNS = 20
_TIMEOUT_S = 300
_TICK_S = 0.1
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "ORT_DISABLE_TELEMETRY": "1"}


def measure_session(
    path: Path, threads: int, row: NDArray[np.generic], tick: Callable[[], None] = lambda: None
) -> tuple[int, int, int]:
    """Peak and steady bytes above the baseline, and the baseline, of one fresh session in a fresh process.

    `tick` is called while it works, and may raise, which ends it. Raises DeviceError if the worker fails, with its
    last words.
    """
    stream = io.BytesIO()
    np.save(stream, row, allow_pickle=False)
    with subprocess.Popen(
        [sys.executable, "-m", "kit.agent.memory", os.fspath(path), str(threads)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
    ) as worker:  # fmt: skip
        try:
            out, err = _talk(worker, stream.getvalue(), tick)
        except BaseException:
            worker.kill()
            raise
    if worker.returncode:
        raise _failure(worker.returncode, err)
    answer = json.loads(out)
    return answer["peak_bytes"], answer["steady_bytes"], answer["baseline_bytes"]


def _talk(worker: "subprocess.Popen[bytes]", data: bytes, tick: Callable[[], None]) -> tuple[bytes, bytes]:
    """What it says, on both streams, once it has ended."""
    deadline_s, unsent = time.monotonic() + _TIMEOUT_S, data or None
    while time.monotonic() < deadline_s:
        tick()
        try:
            return worker.communicate(unsent, timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            unsent = None  # it goes on with the rest of it
    raise DeviceError(f"the memory worker did not end within {_TIMEOUT_S} s")


def _failure(status: int, err: bytes) -> DeviceError:
    words = (err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {status}"])[0][:300]
    if status == -signal.SIGKILL or "MemoryError" in words or "bad_alloc" in words:
        said = "the system ended the memory worker" if status == -signal.SIGKILL else words
        step = "choose a smaller variant, or give the device more memory"
        return RefusalError(f"out of memory: {said}", next_step=step, reason="memory")
    return DeviceError(f"the memory worker failed: {words}", next_step="is there enough memory?")


def _environment() -> dict[str, str]:
    """Ours, and where the agent's sources are: a folder, or the zip file that it runs from."""
    root = str(Path(kit.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}


def available() -> bool:
    """Whether this kernel can reset and tell the high-water mark."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return _status_bytes("VmHWM") is not None


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


def _work(path: str, threads: int) -> None:
    import gc

    import onnxruntime as ort

    with contextlib.suppress(OSError):  # where memory runs out, this process ends and not the agent, which tells it
        Path("/proc/self/oom_score_adj").write_text("1000")
    row = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    providers = ["CPUExecutionProvider"]
    ort.InferenceSession(one_node_model(), options, providers=providers).run(None, {"x": np.zeros(1, np.float32)})
    gc.collect()
    baseline_bytes = _status_bytes("VmRSS") or 0
    Path("/proc/self/clear_refs").write_text("5")
    session = ort.InferenceSession(path, options, providers=providers)
    feed = {session.get_inputs()[0].name: row}
    for _ in range(1 + _RUNS):
        session.run(None, feed)
    steady_bytes, peak_bytes = _status_bytes("VmRSS") or 0, _status_bytes("VmHWM") or 0
    answer = {"peak_bytes": peak_bytes, "steady_bytes": steady_bytes}
    answer = {name: max(0, value - baseline_bytes) for name, value in answer.items()}
    sys.stdout.write(json.dumps(answer | {"baseline_bytes": baseline_bytes}))


def _status_bytes(key: str) -> int | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]))
