"""How long `--help` takes to answer: ours beside another model tool's, in turn, whole processes."""

import os
import subprocess
import sys
import time
from statistics import median

from benchmarks.table import Row

OURS = [sys.executable, "-m", "kit", "--help"]
PEER = [sys.executable, "-m", "onnxruntime.quantization.preprocess", "--help"]


def seconds(command: list[str]) -> float:
    """Wall time of one process, s."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"})
    return time.perf_counter() - started


def run(*, quick: bool) -> list[Row]:
    """Both in turn, after one of each to fill the caches; medians."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range((3 if quick else 15) + 1):
        times["ours"].append(seconds(OURS))
        times["peer"].append(seconds(PEER))
    ours, peer = (1e3 * median(values[1:]) for values in times.values())
    return [Row("--help", ours, "onnxruntime.quantization.preprocess", peer, "ms", 0.5, 150.0)]
