"""The peers of the search benchmark: their environments, made once below `.cache/bench`, and runs of their scripts."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import environment
from benchmarks.search_cases import Case, Rows, hand_over

CACHE = Path(__file__).parents[1] / ".cache" / "bench"
SCRIPTS = Path(__file__).parent / "peers"
ENVIRONMENTS = {
    "nncf": ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1"),
    "inc": ("neural-compressor==2.6", "onnx==1.16.1", "onnxruntime==1.18.1", "numpy<2", "six", "setuptools<81"),
}
"""What each is installed from; Intel Neural Compressor 2.6 is the last with ONNX, and uses six and pkg_resources."""
PEERS = {
    "NNCF 3.4": ("nncf", "nncf_control.py", "overall"),
    "NNCF 3.4 with slices in its metric": ("nncf", "nncf_control.py", "slices"),
    "INC 2.6 auto": ("inc", "inc_tuning.py", "auto"),
    "INC 2.6 level 1": ("inc", "inc_tuning.py", "1"),
}
LIMIT_S = 90.0
"""Of one run: Intel Neural Compressor may go on for minutes."""


@dataclass(frozen=True)
class Found:
    """What a method gave, None if nothing, and what that took; `note` says what went otherwise than it should.

    `full_evaluations` scored every selection row, and `rows_scored` counts those and all others.
    """

    method: str
    model: bytes | None = field(repr=False)
    seconds: float
    full_evaluations: int = 0
    rows_scored: int = 0
    quantizer_calls: int = 0
    note: str = ""


def run_peer(method: str, case: Case) -> Found:
    """Run a peer on the rows to select on, in a folder of its own; at most `LIMIT_S` seconds."""
    kind, script, option = PEERS[method]
    python = environment(CACHE / kind, ENVIRONMENTS[kind])
    with tempfile.TemporaryDirectory() as temporary:
        folder = hand_over(case, Path(temporary))
        surroundings = os.environ | {"ORT_DISABLE_TELEMETRY": "1", "NNCF_CI": "1"}  # neither shall tell its maker
        command = [str(python), str(SCRIPTS / script), str(folder), option]
        try:
            done = subprocess.run(
                command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Found(method, None, LIMIT_S, note=f"stopped after {LIMIT_S:.0f} s")
        result, quantized = folder / "result.json", folder / "quantized.onnx"
        if done.returncode or not result.exists():
            reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            return Found(method, None, 0.0, note=f"failed: {reason[:200]}")
        model = quantized.read_bytes() if quantized.exists() else None
        return Found(method, model, **json.loads(result.read_text(encoding="utf-8")))


class _Reader:
    """Calibration rows as onnxruntime's quantizer reads them."""

    def __init__(self, rows: Rows) -> None:
        count = len(next(iter(rows.values())))
        self._batches = iter([{name: each[at : at + 32] for name, each in rows.items()} for at in range(0, count, 32)])

    def get_next(self) -> Rows | None:
        """The next batch, None at the end."""
        return next(self._batches, None)


def plain_static(case: Case, *, per_channel: bool) -> Found:
    """onnxruntime's static quantizer with its MinMax, unsigned activations, signed weights and all its operators."""
    import logging
    import time

    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    started_s = time.perf_counter()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        prepared, quantized = Path(temporary, "prepared.onnx"), Path(temporary, "quantized.onnx")
        quant_pre_process(case.folder / "model.onnx", prepared, skip_symbolic_shape=True)
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(prepared, quantized, _Reader(case.calibration), per_channel=per_channel, **kinds)
        data = quantized.read_bytes()
    logging.disable(logging.NOTSET)
    name = f"static int8 per {'channel' if per_channel else 'tensor'}"
    return Found(name, data, time.perf_counter() - started_s, quantizer_calls=1)
