"""The three smartwatch networks of the search benchmark: one trained under a seed, and two that compute the same.

    python -m benchmarks.search_nets OUT_DIR

`watch` is the depthwise-separable residual CNN of examples/watch/train_cnn.py: 14 convolutions and a matrix product,
batch normalization folded. `dww` and `dwx` are the same function with the channels between a depthwise layer and
the next multiplied by log-normal factors that the next divides by again: unequal ranges are what breaks int8 (Nagel
et al., "Data-free quantization through weight equalization and bias correction", 2019, arXiv:1906.04721, section 3).
"""

# PyTorch and seglearn are extras, so their types are unknown in the locked environment.
# mypy: disable-error-code="import-not-found,misc,no-any-return"

import os
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from benchmarks.search_cases import Case, Mask, write_case
from examples.watch.prepare import AXES, UNIT, WINDOW, Windows, calibration, load_windows, split

TRAINING_SEED = 1
RESCALING_SEED = 2
BLOCKS = 6
"""Of the network: a depthwise and a pointwise convolution each."""
SIGMAS = {"watch": 0.0, "dww": 1.2, "dwx": 2.0}
"""Standard deviation of the natural logarithm of the channels' factors."""

Array = npt.NDArray[np.float64]


def prepare(folder: Path) -> list[Case]:
    """Train, rescale and write what is not in `folder` yet; the three cases."""
    known, held_out = split(load_windows())
    path = folder / "watch" / "model.onnx"
    trained = onnx.load(path) if path.exists() else _train(known)
    return [
        _case(folder / name, rescale(trained, sigma, RESCALING_SEED), known, held_out) for name, sigma in SIGMAS.items()
    ]


def _train(known: Windows) -> onnx.ModelProto:
    try:
        from examples.watch.train_cnn import export, train
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed; next: make converters")
    return export(train(known, TRAINING_SEED), known, TRAINING_SEED)


def rescale(model: onnx.ModelProto, sigma: float, seed: int) -> onnx.ModelProto:
    """The same function: every channel of a depthwise layer times exp(sigma * normal), divided out by the next layer.

    The rectifier between them lets positive factors through. `sigma` is that of the natural logarithm.
    """
    if sigma == 0:
        return model
    generator = np.random.default_rng(seed)
    scaled = onnx.ModelProto.FromString(model.SerializeToString())
    for block in range(BLOCKS):
        first, second = f"block{block}.depthwise", f"block{block}.pointwise"
        factors = np.exp(sigma * generator.normal(size=len(_values(scaled, f"{first}.b"))))
        _multiply(scaled, f"{first}.w", factors[:, None, None])
        _multiply(scaled, f"{first}.b", factors)
        _multiply(scaled, f"{second}.w", 1 / factors[None, :, None])
    return scaled


def _tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in model.graph.initializer if each.name == name)


def _values(model: onnx.ModelProto, name: str) -> Array:
    return numpy_helper.to_array(_tensor(model, name)).astype(np.float64)


def _multiply(model: onnx.ModelProto, name: str, factors: Array) -> None:
    values = (_values(model, name) * factors).astype(np.float32)
    _tensor(model, name).CopyFrom(numpy_helper.from_array(values, name))


def _case(folder: Path, model: onnx.ModelProto, known: Windows, held_out: Windows) -> Case:
    """The held-out people's windows, halved by recording; calibration is on other people."""
    drawn = calibration(known)
    return write_case(
        folder,
        model=model,
        feeds={"x": held_out.x},
        classes=held_out.classes,
        labels=held_out.y,
        slices={
            "exercise": np.array(held_out.classes)[held_out.y],
            "side": held_out.side,
            "subject": held_out.subject,
        },
        cluster=held_out.recording,
        selection=first_half(held_out),
        calibration={**drawn.columns(), "cluster": drawn.recording, "half": np.full(len(drawn.y), "calibration")},
        input_table={"shape": [WINDOW * AXES], "minimum": -50.0, "maximum": 50.0, "unit": UNIT},
        source="seglearn 1.2.5; Burns et al. 2018, arXiv:1802.01489",
    )


def first_half(windows: Windows) -> Mask:
    """Rows to select on: of either arm's recording of an exercise by a person one, the arms taking turns.

    bool [rows]. Whole recordings are on one side, and both sides have every exercise, every person, and both arms
    about equally often.
    """
    return (windows.subject + windows.y + (windows.side == "right")) % 2 == 0


def main() -> None:
    """Command line: write the three cases below OUT_DIR and say how good the network is."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    started_s = time.perf_counter()
    for case in prepare(Path(sys.argv[1])):
        right = case.score(case.model).argmax(axis=1) == case.labels
        size = len(case.model)
        print(f"{case.name}: {size} bytes, {right.mean():.2%} of {len(right)} right")
    print(f"{time.perf_counter() - started_s:.0f} s")


if __name__ == "__main__":
    main()
