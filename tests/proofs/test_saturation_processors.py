"""The prediction against the truth: a real onnxruntime on an emulated Haswell, which has AVX2 and no VNNI."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationMethod, QuantType

from kit.model.saturation import predict_on_saturating_x86
from tests import saturation_nets as nets

EMULATOR = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="runs this x86-64 Python under emulation"),
    pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64-static (Debian: qemu-user-static)"),
]

RUN = """
import json, sys
import numpy, onnxruntime
for model, rows, results, exact in json.load(sys.stdin):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", exact)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = numpy.load(rows)
    fixed = isinstance(session.get_inputs()[0].shape[0], int)
    parts = [x[i : i + 1] for i in range(len(x))] if fixed else [x]
    numpy.save(results, numpy.concatenate([session.run(None, {"x": part})[0] for part in parts]))
"""

CASES = {
    "gemm": (nets.mlp, (601,)),
    "matmul": (nets.matmul_mlp, (601,)),
    "separable": (nets.separable_cnn, (6, 40)),
    "residual": (nets.residual_2d, (3, 12, 12)),
    "volumetric": (nets.volumetric, (3, 5, 6, 7)),
    "one row": (nets.one_row_dilated, (1, 40)),
}

RECIPES = {
    "per channel": {},
    "per tensor": {"per_channel": False},
    "operators": {"qdq": False},
    "signed activations": {"activation_type": QuantType.QInt8},
    "unsigned weights": {"weight_type": QuantType.QUInt8, "per_channel": False},
    "reduced range": {"reduce_range": True},
    "moving average": {"extra_options": {"CalibMovingAverage": True}, "calibrate_method": CalibrationMethod.MinMax},
}


def on_haswell(folder: Path, models: dict[str, bytes], x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Outputs of each model with the processor's default kernels, and with the exact ones."""
    np.save(folder / "x.npy", x)
    jobs, files = [], {}
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(model)
        files[name] = [folder / f"{name} {exact}.npy" for exact in "01"]
        jobs += [[str(path), str(folder / "x.npy"), str(file), file.stem[-1]] for file in files[name]]
    subprocess.run(
        [str(EMULATOR), "-cpu", "Haswell", sys.executable, "-c", RUN],
        input=json.dumps(jobs), text=True, check=True, capture_output=True, timeout=240,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return {name: (np.load(default), np.load(exact)) for name, (default, exact) in files.items()}


@pytest.mark.parametrize("name", CASES)
def test_prediction_equals_the_processor_bit_for_bit(tmp_path: Path, name: str) -> None:
    build, shape = CASES[name]
    x = nets.rows(24, *shape)
    models = {recipe: nets.quantized(build(), x, tmp_path, **options) for recipe, options in RECIPES.items()}
    for recipe, (default, exact) in on_haswell(tmp_path, models, x).items():
        predicted = predict_on_saturating_x86(models[recipe], x)
        np.testing.assert_array_equal(predicted.outputs, default, err_msg=recipe)
        exactly = predict_on_saturating_x86(models[recipe], x, saturate=False)
        np.testing.assert_array_equal(exactly.outputs, exact, err_msg=recipe)
        saturates = recipe not in ("unsigned weights", "reduced range")
        assert (predicted.saturated_pairs > 0) is saturates, recipe
        assert (not np.array_equal(default, exact)) is saturates, recipe
