"""A small net trained on real digits, with a dataset and a profile: what quantizing and searching are tried on."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from kit.digest import digest_file

MANIFEST = """
[dataset]
name = "digits"
description = "Handwritten digits, 8 x 8 pixels, in pages of ten"
task = "classification"
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
label = "label"
cluster = "page"
slices = ["digit", "part"]

[input]
array = "x"
dtype = "float32"
shape = [64]
"""

PROFILE = """
[profile]
name = "desk"
description = "Digits on a small device."
confidence = 0.95

[variants]
recipes = ["fp32", "int8-per-tensor", "int8-per-channel-reduced"]
cheapest_by = "size"

[measure]
latency_inferences = 300
latency_time = "0.1 s"
memory_sessions = 3

[[require]]
id = "accuracy"
metric = "accuracy.drop"
at_most = "ACCURACY points"

[[require]]
id = "digits"
metric = "accuracy.drop"
by = ["digit"]
at_most = "SLICES points"
minimum_rows = 30

[[require]]
id = "right"
metric = "accuracy.value"
at_least = "80 %"

[[require]]
id = "fairness"
metric = "fairness.gap_change"
by = ["part"]
at_most = "6 points"

[[require]]
id = "size"
metric = "model.size"
at_most = "SIZE"

[[require]]
id = "latency"
metric = "latency.p99"
at_most = "200 ms"
"""

PARTS = {"test": slice(700, 1797), "calibration": slice(0, 200)}
WITH_SELECTION = {"test": slice(1100, 1797), "selection": slice(700, 1100), "calibration": slice(0, 200)}


@dataclass(frozen=True)
class Case:
    """Where everything lies."""

    folder: Path
    model: Path
    data: Path
    profile: Path

    def words(self, *more: str | Path) -> list[str]:
        """Arguments of a command that has all three."""
        return [str(self.model), "--data", str(self.data), "--profile", str(self.profile), *map(str, more)]

    def respell(self, old: str, new: str) -> None:
        """Change the profile."""
        text = self.profile.read_text()
        assert old in text
        self.profile.write_text(text.replace(old, new))


def weights(hidden: int = 32, seed: int = 0) -> list[NDArray[np.float32]]:
    """w1 [64, hidden], b1, w2 [hidden, 10], b2 of a net trained on the first 700 digits."""
    return [each.copy() for each in _trained(hidden, seed)]


@cache
def _trained(hidden: int, seed: int) -> list[NDArray[np.float32]]:
    x, y = load_digits(return_X_y=True)
    net = MLPClassifier((hidden,), max_iter=60, random_state=seed, tol=0.0, n_iter_no_change=100, solver="adam")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.fit(x[:700] / 16, y[:700])
    (w1, w2), (b1, b2) = net.coefs_, net.intercepts_
    return [each.astype(np.float32) for each in (w1 / 16, b1, w2, b2)]


def rescaled(given: list[NDArray[np.float32]], sigma: float, seed: int = 0) -> list[NDArray[np.float32]]:
    """The same function with its hidden channels scaled log-normally by powers of two: per-tensor int8 breaks it."""
    w1, b1, w2, b2 = given
    scales = 2.0 ** np.random.default_rng(seed).normal(0.0, sigma, len(b1)).round()
    s = scales.astype(np.float32)
    return [w1 * s, b1 * s, w2 / s[:, None], b2]


def net(given: list[NDArray[np.float32]], name: str = "digits") -> bytes:
    """The net as ONNX: Gemm, Relu, Gemm."""
    constants = dict(zip(("w1", "b1", "w2", "b2"), given, strict=True))
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["scores"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 10])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_data(folder: Path, parts: dict[str, slice]) -> Path:
    """The manifest; ``part`` is the first or second half of the file, and ten rows in a row are a page."""
    x, y = load_digits(return_X_y=True)
    row = np.arange(len(y))
    columns: dict[str, NDArray[Any]] = {
        "x": x.astype(np.float32),
        "label": y.astype(np.int64),
        "digit": y.astype(np.int64),
        "page": row // 10,
        "part": np.where(row % 400 < 200, "early", "late"),
    }
    text = MANIFEST
    for role, rows in parts.items():
        path = folder / f"{role}.npz"
        np.savez(path, **{name: column[rows] for name, column in columns.items()})  # type: ignore[arg-type]
        digest = digest_file(path).removeprefix("sha256:")
        count = len(columns["label"][rows])
        text += f'\n[[part]]\nrole = "{role}"\npath = "{path.name}"\nrows = {count}\nsha256 = "{digest}"\n'
    (folder / "digits.toml").write_text(text)
    return folder / "digits.toml"


def write_case(
    folder: Path,
    *,
    sigma: float = 0.0,
    parts: dict[str, slice] | None = None,
    accuracy: str = "3",
    slices: str = "8",
    size: str = "20 kB",
) -> Case:
    """Everything for a command, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    given = weights()
    (folder / "net.onnx").write_bytes(net(rescaled(given, sigma) if sigma else given))
    profile = folder / "desk.toml"
    profile.write_text(PROFILE.replace("ACCURACY", accuracy).replace("SLICES", slices).replace("SIZE", size))
    return Case(folder, folder / "net.onnx", write_data(folder, parts or PARTS), profile)
