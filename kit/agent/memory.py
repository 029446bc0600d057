"""Memory that a model adds to a process, in a fresh process a session: ``python -m kit.agent.memory MODEL THREADS``.

One row arrives on standard input as .npy, from the agent itself; the answer is one line of JSON.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.errors import DeviceError

METHOD = (
    "a fresh process a session; baseline: VmRSS after a one-node model was loaded, run and released; "
    "then the high-water mark is reset (/proc/self/clear_refs), the model loaded from file and run 21 times; "
    "peak: VmHWM, steady: VmRSS, both less the baseline and with the library pages that the model touches; "
    "MALLOC_MMAP_THRESHOLD_=65536, MALLOC_ARENA_MAX=1"
)
_RUNS = 20
_TIMEOUT_S = 300
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "ORT_DISABLE_TELEMETRY": "1"}


def measure_session(path: Path, threads: int, row: NDArray[np.generic]) -> tuple[int, int, int]:
    """Peak and steady bytes above the baseline, and the baseline, of one fresh session in a fresh process.

    Raises DeviceError if the worker fails, with its last words.
    """
    stream = io.BytesIO()
    np.save(stream, row, allow_pickle=False)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kit.agent.memory", os.fspath(path), str(threads)],
            input=stream.getvalue(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=os.environ | _ENVIRONMENT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"the memory worker did not end within {_TIMEOUT_S} s") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise DeviceError(f"the memory worker failed: {words[0][:300]}", next_step="is there enough memory?")
    answer = json.loads(done.stdout)
    return answer["peak_bytes"], answer["steady_bytes"], answer["baseline_bytes"]


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
