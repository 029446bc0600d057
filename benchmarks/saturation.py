"""Decisions of an x86 without VNNI: computed by us, beside a real onnxruntime on an emulated such processor (QEMU)."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row

ROOT = Path(__file__).parents[1]
PEER = (
    "import sys, time, numpy as np, onnxruntime as ort\n"
    "x = np.load(sys.argv[2]); s = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
    "name = s.get_inputs()[0].name; t = time.perf_counter(); y = s.run(None, {name: x})[0]\n"
    "print(time.perf_counter() - t); np.save(sys.argv[3], y)\n"
)


def run(*, quick: bool) -> list[Row]:
    """Seconds for the shipped network in int8 on random windows, where both must give the same bits."""
    emulator = shutil.which("qemu-x86_64-static")
    if emulator is None:
        raise SystemExit("the peer needs qemu-x86_64-static (Debian package qemu-user-static)")
    from kit.digest import digest_bytes
    from kit.model.fused import predict_on_saturating_x86
    from kit.model.load import load_onnx
    from kit.model.quantize import make_variant
    from kit.spec.recipe import parse_recipe

    rows = np.random.default_rng(0).normal(0, 4, (200 if quick else 2000, 600)).astype(np.float32)
    reference = load_onnx(ROOT / "examples/watch/watch-cnn.onnx")
    data = make_variant(reference, parse_recipe("int8-per-channel"), rows[:200], digest_bytes(rows.tobytes())).data
    with tempfile.TemporaryDirectory() as folder:
        model, inputs, outputs = (Path(folder) / name for name in ("m.onnx", "x.npy", "y.npy"))
        model.write_bytes(data)
        np.save(inputs, rows)
        command = [emulator, "-cpu", "Haswell", sys.executable, "-c", PEER, str(model), str(inputs), str(outputs)]
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        peer_s = float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        started = time.perf_counter()
        ours = predict_on_saturating_x86(data, rows).outputs
        ours_s = time.perf_counter() - started
        if not np.array_equal(ours, np.load(outputs)):
            raise SystemExit("the computed outputs are not those of the emulated processor")
    return [Row(f"{len(rows)} windows, bit-equal", ours_s, "onnxruntime under QEMU", peer_s, "s", 2.0)]
